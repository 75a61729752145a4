package wire

import (
	"encoding/json"
	"testing"
)

// object returns v as a payload.
func object(t testing.TB, v any) []byte {
	t.Helper()
	payload, err := Object(v)
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

// presence returns a whole presence frame.
func presence(t testing.TB, event, channel, requestID string, list []any, changed any) []byte {
	t.Helper()
	encoded, err := Value(list)
	if err != nil {
		t.Fatal(err)
	}
	frame := AppendPresenceHead(nil, event, channel, requestID)
	frame = append(frame, encoded...)
	return AppendPresenceTail(frame, object(t, changed))
}

// serverFrames returns the frames of the group server-frame, encoded by this package,
// by name.
func serverFrames(t testing.TB) map[string][][]byte {
	type m = map[string]any
	frame := func(a Action, event, channel, requestID string, payload any) [][]byte {
		return [][]byte{AppendMessage(nil, a, event, channel, requestID, object(t, payload))}
	}
	refused := func(channel, requestID, code, message string, status int) [][]byte {
		return [][]byte{AppendMessage(nil, System, Unauthorized, channel, requestID, AppendError(nil, code, message, status))}
	}
	failed := func(code, channel, requestID, message string, status int) [][]byte {
		return [][]byte{AppendMessage(nil, ErrorAction, code, channel, requestID, AppendError(nil, code, message, status))}
	}
	handlerFailed := func(requestID, message string) [][]byte {
		payload := AppendHandlerError(nil, message, 500, nil)
		return [][]byte{AppendMessage(nil, ErrorAction, HandlerNotFound, "/chat/1", requestID, payload)}
	}
	online, away, bob := m{"name": "alice", "status": "online"}, m{"name": "alice", "status": "away"}, m{"name": "bob", "status": "online"}
	return map[string][][]byte{
		"connection":            frame(Connect, Connection, Endpoint, someUUID, m{"id": someUserID, "connectionId": someConnectionID}),
		"connection-reply":      frame(System, "welcome", Endpoint, someUUID, m{"hello": "world"}),
		"ack":                   frame(System, Acknowledge, "/chat/1", "ja", nil),
		"join-reply":            frame(System, "welcome", "/chat/1", "ja", m{"room": "1"}),
		"join-declined":         refused("/chat/j", "j", UnauthorizedJoinRequest, "Nope", 403),
		"join-undecided":        refused("/chat/j", "j", UnauthorizedJoinRequest, "the join was not decided", 500),
		"join-error":            refused("/chat/j", "j", ChannelError, "internal error", 500),
		"join-not-found":        refused("/nope/1", "jn", ChannelNotFound, "no such channel", 404),
		"join-duplicate":        frame(System, Acknowledge, "/chat/1", "ja2", nil),
		"broadcast-from-event":  frame(Broadcast, "message", "/chat/1", "m1", m{"text": "hi"}),
		"broadcast-from-server": frame(Broadcast, "srv", "/chat/1", someUUID, m{"all": true}),
		"event-reply":           frame(System, "echo", "/chat/1", "m4", m{"x": 1}),
		"event-no-handler":      handlerFailed("m7", "no handler for this event"),
		"event-handler-error":   handlerFailed("m", "internal error"),
		"event-not-member":      failed(ChannelNotFound, "/chat/1", "n1", "not a member", 404),
		"event-channel-missing": failed(ChannelNotFound, "/chat/none", "n2", "not a member", 404),
		"presence-join":         {presence(t, PresenceJoin, "/chat/1", someUUID, []any{online}, online)},
		"presence-update":       {presence(t, PresenceUpdate, "/chat/1", someUUID, []any{away, bob}, away)},
		"presence-leave":        {presence(t, PresenceLeave, "/chat/1", someUUID, []any{bob}, away)},
		"evict-target": append(
			frame(System, KickedOut, "/chat/1", someUUID, m{"message": "spam", "code": 403, "reason": "spam"}),
			frame(System, Evicted, "/chat/1", someUUID, m{"reason": "spam"})...,
		),
		"evict-others": append(
			frame(System, Kicked, "/chat/1", someUUID, m{"userId": someUserID, "reason": "spam"}),
			presence(t, PresenceLeave, "/chat/1", someUUID, []any{online}, bob),
		),
		"leave-ack": frame(System, ExitAcknowledge, "/chat/1", "l1", nil),
		"oversize": failed(InvalidMessage, Endpoint, someUUID,
			"Message size 1100098 exceeds maximum allowed size of 1048576 bytes", 413),
		"destroyed": frame(ErrorAction, Destroyed, "c", someUUID, m{"message": "Channel has been destroyed"}),
	}
}

func TestServerFrameVectors(t *testing.T) {
	frames := serverFrames(t)
	runVectors(t, "server-frame", 24, func(t *testing.T, name string, v vector) {
		expected := unmarshal[struct{ JS, Recommended json.RawMessage }](t, v.Expected)
		var want []json.RawMessage
		switch expected.Recommended[0] {
		case '[':
			want = unmarshal[[]json.RawMessage](t, expected.Recommended)
		case '{':
			want = []json.RawMessage{expected.Recommended}
		default: // of oversize, in words: the frame of the JavaScript server
			want = []json.RawMessage{expected.JS}
		}
		if len(frames[name]) != len(want) {
			t.Fatalf("%d frames, want %d", len(frames[name]), len(want))
		}
		for i, frame := range frames[name] {
			clientAccepts(t, frame)
			compareFrame(t, frame, want[i])
		}
	})
}

func TestAppendMessage(t *testing.T) {
	got := AppendMessage([]byte("prefix "), System, "e\n", `c"`, "r", nil)
	const want = `prefix {"action":"SYSTEM","event":"e\n","channelName":"c\"","requestId":"r","payload":{}}`
	if string(got) != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestAppendErrors(t *testing.T) {
	for _, tc := range []struct {
		got  []byte
		want string
	}{
		{
			AppendError(nil, ChannelError, "it's \"bad\"\n", 500),
			`{"code":"CHANNEL_ERROR","message":"it's \"bad\"\n","status":500,"statusCode":500,"error":{"message":"it's \"bad\"\n","status":500}}`,
		},
		{
			AppendErrorDetails(nil, ChannelError, "m", 400, []byte(`[1]`)),
			`{"code":"CHANNEL_ERROR","message":"m","status":400,"statusCode":400,"error":{"message":"m","status":400},"details":[1]}`,
		},
		{
			AppendHandlerError(nil, "m", 409, []byte(`{"a":1}`)),
			`{"code":409,"message":"m","status":409,"statusCode":409,"error":{"message":"m","status":409},"details":{"a":1}}`,
		},
	} {
		if string(tc.got) != tc.want {
			t.Errorf("%s, want %s", tc.got, tc.want)
		}
	}
}

func TestAppendString(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"", `""`},
		{"a/b<é>😀\x7f", "\"a/b<é>😀\x7f\""},
		{"\"\\\n\r\t\x00\x1f", `"\"\\\n\r\t\u0000\u001f"`},
		{"a\u2028b\u2029c", `"a\u2028b\u2029c"`},
		{"\uFFFD", "\"\uFFFD\""},
		{"a\xff\xc3b\xed\xa0\x80", "\"a\uFFFD\uFFFDb\uFFFD\uFFFD\uFFFD\""},
	} {
		if got := AppendString(nil, tc.in); string(got) != tc.want {
			t.Errorf("%q: %s, want %s", tc.in, got, tc.want)
		}
	}
}

func TestAppendOffset(t *testing.T) {
	t.Parallel()
	msg := AppendMessage(nil, Broadcast, "said", "/run/1", "m1", nil)
	before := len(msg)
	msg = AppendOffset(msg, 12)
	if want := `{"action":"BROADCAST","event":"said","channelName":"/run/1","requestId":"m1","payload":{},"offset":12}`; string(msg) != want {
		t.Errorf("got %s, want %s", msg, want)
	}
	msg = AppendOffset(AppendMessage(nil, Broadcast, "said", "/run/1", "m1", nil), 99_999_999)
	if got := len(msg) - before; got != OffsetSize {
		t.Errorf("the offset adds %d bytes, want %d", got, OffsetSize)
	}
}
