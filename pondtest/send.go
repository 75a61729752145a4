package pondtest

import (
	"encoding/json"
	"errors"
	"os"
	"strconv"
)

// envelope is a message to the server.
type envelope struct {
	Action    string          `json:"action"`
	Event     string          `json:"event"`
	Channel   string          `json:"channelName"`
	RequestID string          `json:"requestId"`
	Payload   json.RawMessage `json:"payload"`

	join
}

const (
	actionJoin      = "JOIN_CHANNEL"
	actionLeave     = "LEAVE_CHANNEL"
	actionBroadcast = "BROADCAST"
)

// Join asks to join a channel and returns the server's answer, which may reject the
// request. The answer is the first message that has the ID of the request and is not
// about presence. Messages that arrive before it stay in the queue, in order, for
// [Session.Receive].
//
// In all methods, a nil params or payload is sent as an empty object.
func (s *Session) Join(channel string, params any, opts ...JoinOption) Message {
	s.t.Helper()
	return s.answer(actionJoin+" "+channel, s.SendJoin(channel, params, opts...))
}

// SendJoin asks to join a channel like [Session.Join], but does not wait for the
// answer. It returns the ID of the request.
func (s *Session) SendJoin(channel string, params any, opts ...JoinOption) (requestID string) {
	s.t.Helper()
	var j join
	for _, opt := range opts {
		opt(&j)
	}
	requestID = s.nextRequestID()
	s.sendEnvelope(envelope{Action: actionJoin, Channel: channel, Event: actionJoin, RequestID: requestID, join: j}, params)
	return requestID
}

// Leave leaves a channel and returns the server's answer, as [Session.Join] does.
func (s *Session) Leave(channel string) Message {
	s.t.Helper()
	return s.answer(actionLeave+" "+channel, s.send(actionLeave, channel, actionLeave, nil))
}

// Request sends an event to a channel and returns the server's answer, as
// [Session.Join] does.
func (s *Session) Request(channel, event string, payload any) Message {
	s.t.Helper()
	return s.answer(event+" on "+channel, s.Send(channel, event, payload))
}

// Send sends an event to a channel and returns the ID of the request, which is
// unique in the test. For an SSE client, the server must respond with status 204.
func (s *Session) Send(channel, event string, payload any) (requestID string) {
	s.t.Helper()
	return s.send(actionBroadcast, channel, event, payload)
}

// SendID is like [Session.Send], but uses the given request ID.
func (s *Session) SendID(channel, event, requestID string, payload any) {
	s.t.Helper()
	s.sendEnvelope(envelope{Action: actionBroadcast, Channel: channel, Event: event, RequestID: requestID}, payload)
}

// SendRaw sends data, which need not be a valid message, as a WebSocket text message
// or as the body of a POST request. It does not fail if the server rejects data or
// closed the connection. Use [Driver.Push] to get the status of a POST.
func (s *Session) SendRaw(data []byte) {
	s.t.Helper()
	s.sent(s.link.send(data))
}

// SendFrame writes data unchanged to the connection of a WebSocket. It need not be a
// valid frame.
func (s *Session) SendFrame(data []byte) {
	s.t.Helper()
	socket, ok := s.link.(*webSocket)
	if !ok {
		s.fatalf("SendFrame requires a WebSocket")
	}
	s.sent(socket.write(data))
}

// sent fails the test if err shows that the server did not read.
func (s *Session) sent(err error) {
	s.t.Helper()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		s.fatalf("the server did not read for %v", timeout)
	}
}

func (s *Session) send(action, channel, event string, payload any) (requestID string) {
	s.t.Helper()
	requestID = s.nextRequestID()
	s.sendEnvelope(envelope{Action: action, Channel: channel, Event: event, RequestID: requestID}, payload)
	return requestID
}

func (s *Session) nextRequestID() string {
	s.driver.requests++
	return "request-" + strconv.Itoa(s.driver.requests)
}

func (s *Session) sendEnvelope(e envelope, payload any) {
	s.t.Helper()
	if payload == nil {
		payload = struct{}{}
	}
	var err error
	if e.Payload, err = json.Marshal(payload); err != nil {
		s.fatalf("payload of %s: %v", e.Event, err)
	}
	message, err := json.Marshal(e)
	if err != nil {
		s.fatalf("%s: %v", e.Event, err)
	}
	err = s.link.send(message)
	s.sent(err)
	if err != nil {
		s.fatalf("sending %s on %s: %v", e.Event, e.Channel, err)
	}
}

func (s *Session) answer(question, requestID string) Message {
	s.t.Helper()
	return s.take("the answer to "+question, func(m Message) bool {
		return m.RequestID == requestID && m.Action != actionPresence
	})
}
