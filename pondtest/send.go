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
}

const (
	actionJoin      = "JOIN_CHANNEL"
	actionLeave     = "LEAVE_CHANNEL"
	actionBroadcast = "BROADCAST"
)

// Join asks to join a channel and returns the server's answer, which may be a
// refusal: the first message that has the request's ID and is not about presence.
// Others that come before it stay for [Session.Receive], in order.
//
// Here as everywhere, nil params or payload are the empty object.
func (s *Session) Join(channel string, params any) Message {
	s.t.Helper()
	return s.answer(actionJoin+" "+channel, s.send(actionJoin, channel, actionJoin, params))
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

// Send sends an event to a channel and returns the ID of the request, which no
// other session of the test uses. An SSE client has to be answered with 204.
func (s *Session) Send(channel, event string, payload any) (requestID string) {
	s.t.Helper()
	return s.send(actionBroadcast, channel, event, payload)
}

// SendID is [Session.Send] with a given request ID.
func (s *Session) SendID(channel, event, requestID string, payload any) {
	s.t.Helper()
	s.sendEnvelope(actionBroadcast, channel, event, requestID, payload)
}

// SendRaw sends data, which need not be a message: as the text of a WebSocket
// message, or as the body of a POST request. The server may refuse it, and may
// have closed the connection; [Driver.Push] tells the status of a POST.
func (s *Session) SendRaw(data []byte) {
	s.t.Helper()
	s.sent(s.link.send(data))
}

// SendFrame sends data on the connection of a WebSocket as it is. It need not be
// a frame.
func (s *Session) SendFrame(data []byte) {
	s.t.Helper()
	socket, ok := s.link.(*webSocket)
	if !ok {
		s.fatalf("SendFrame needs a WebSocket")
	}
	s.sent(socket.write(data))
}

// sent fails the test if the server did not even read.
func (s *Session) sent(err error) {
	s.t.Helper()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		s.fatalf("the server did not read for %v", patience)
	}
}

func (s *Session) send(action, channel, event string, payload any) (requestID string) {
	s.t.Helper()
	s.driver.requests++
	requestID = "request-" + strconv.Itoa(s.driver.requests)
	s.sendEnvelope(action, channel, event, requestID, payload)
	return requestID
}

func (s *Session) sendEnvelope(action, channel, event, requestID string, payload any) {
	s.t.Helper()
	if payload == nil {
		payload = struct{}{}
	}
	encoded, err := json.Marshal(payload)
	if err != nil {
		s.fatalf("payload of %s: %v", event, err)
	}
	message, err := json.Marshal(envelope{action, event, channel, requestID, encoded})
	if err != nil {
		s.fatalf("%s: %v", event, err)
	}
	err = s.link.send(message)
	s.sent(err)
	if err != nil {
		s.fatalf("sending %s on %s: %v", event, channel, err)
	}
}

func (s *Session) answer(question, requestID string) Message {
	s.t.Helper()
	return s.take("the answer to "+question, func(m Message) bool {
		return m.RequestID == requestID && m.Action != actionPresence
	})
}
