package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// schemaMessage reports whether an error of the JavaScript server is one of its schema,
// and not one of its JSON parser.
func schemaMessage(text string) bool {
	for _, name := range []string{"clientMessage", "event", "requestId", "channelName", "payload", "action"} {
		if strings.HasPrefix(text, name+": ") {
			return true
		}
	}
	return false
}

// betterText replaces the texts of the JavaScript server that say "Expected object,
// got object".
func betterText(name, text string) string {
	if name == "array" || name == "null" {
		text = strings.ReplaceAll(text, "got object", "got "+name)
	}
	return text
}

func TestInboundVectors(t *testing.T) {
	runVectors(t, "inbound", 49, func(t *testing.T, name string, v vector) {
		want := unmarshal[struct {
			JS struct {
				Message json.RawMessage
				Error   string
			}
			Recommended string
		}](t, v.Expected)

		m, err := Decode(v.text(t), Limits{Depth: 32})
		if strings.HasPrefix(want.Recommended, "accept") {
			if err != nil {
				t.Fatalf("%v, want %s", err, want.Recommended)
			}
			if want.JS.Message != nil {
				got := AppendMessage(nil, m.Action, m.Event, m.Channel, m.RequestID, m.Payload)
				compareFrame(t, got, want.JS.Message)
			}
			return
		}
		refused, ok := errors.AsType[*DecodeError](err)
		if !ok {
			t.Fatalf("error %#v, want %s", err, want.Recommended)
		}
		if schemaMessage(want.JS.Error) && refused.Message != betterText(name, want.JS.Error) {
			t.Errorf("error %q, want %q", refused.Message, want.JS.Error)
		}
	})
}

func TestInboundErrorVectors(t *testing.T) {
	// By rule S-11 these are not errors, although they are for the JavaScript server.
	lenient := map[string]Message{
		"ping":         {Action: Ping, Payload: []byte(`{}`)},
		"no-payload":   {Action: Broadcast, Event: "e", Channel: "c", RequestID: "r", Payload: []byte(`{}`)},
		"payload-null": {Action: Broadcast, Event: "e", Channel: "c", RequestID: "r", Payload: []byte(`{}`)},
	}
	runVectors(t, "inbound-error", 26, func(t *testing.T, name string, v vector) {
		m, err := Decode(v.text(t), Limits{Depth: 32})
		if want, ok := lenient[name]; ok {
			if err != nil || !reflect.DeepEqual(m, want) {
				t.Errorf("%+v, %v; want %+v", m, err, want)
			}
			return
		}
		refused, ok := errors.AsType[*DecodeError](err)
		if !ok {
			t.Fatalf("error %#v", err)
		}
		// JavaScript answers with status 500. By rule S-17 it is 400, and the
		// frame has the names that are in the error.
		frame := AppendMessage(nil, ErrorAction, InvalidMessage, Endpoint, someUUID,
			AppendError(nil, InvalidMessage, refused.Message, 500))
		want := unmarshal[struct{ JS json.RawMessage }](t, v.Expected)
		compareFrame(t, frame, []byte(betterText(name, string(want.JS))))
	})
}

func TestDecode(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     Message
	}{
		{
			"white space",
			" {\n\"action\" : \"BROADCAST\",\t\"event\":\"e\" ,\"channelName\":\"c\",\"requestId\":\"r\",\r\"payload\" : { \"a b\" : [ 1 , \"\\\" \" ] , \"\\\\\" : { } } } ",
			Message{Broadcast, "e", "c", "r", []byte(`{"a b":[1,"\" "],"\\":{}}`), nil},
		},
		{
			"white space in an empty payload",
			`{"action":"BROADCAST","event":"e","channelName":"c","requestId":"r","payload":{ } }`,
			Message{Broadcast, "e", "c", "r", []byte(`{}`), nil},
		},
		{
			"escapes",
			`{"\u0061ction":"\u0042ROADCAST","event":"\"\\\/\b\f\n\r\t","channelName":"\ud83d\ude00\u20AC","requestId":"\u00e9","payload":{"\u0061":"\u0061"}}`,
			Message{Broadcast, "\"\\/\b\f\n\r\t", "😀€", "é", []byte(`{"\u0061":"\u0061"}`), nil},
		},
		{
			"lone surrogates in the payload",
			`{"action":"BROADCAST","event":"\ud83d\ude00\ufffd","channelName":"\\ud800","requestId":"\ud83d\ude00\ud83d\ude00","payload":{"x":"\ud800"}}`,
			Message{Broadcast, "😀\uFFFD", `\ud800`, "😀😀", []byte(`{"x":"\ud800"}`), nil},
		},
		{
			"last duplicate wins",
			`{"payload":{"a": 1},"payload":{"a":2},"event":5,"event":"e","action":"ping","action":"LEAVE_CHANNEL","channelName":[],"channelName":"c","requestId":"q","request\u0049d":"r"}`,
			Message{LeaveChannel, "e", "c", "r", []byte(`{"a":2}`), nil},
		},
		{
			"last duplicate is null",
			`{"payload":{"a":1},"payload":null,"event":"e","action":"JOIN_CHANNEL","channelName":"c","requestId":"r"}`,
			Message{JoinChannel, "e", "c", "r", []byte(`{}`), nil},
		},
		{
			"numbers stay as they are",
			`{"action":"BROADCAST","event":"e","channelName":"c","requestId":"r","payload":{"n":[1e999,-0,0.10,1E-2,12345678901234567890]}}`,
			Message{Broadcast, "e", "c", "r", []byte(`{"n":[1e999,-0,0.10,1E-2,12345678901234567890]}`), nil},
		},
		{
			"unknown members",
			`{"a":{"action":"x","payload":[[{}]]},"":null,"action":"BROADCAST","event":"","channelName":"","requestId":"","want":["x"]}`,
			Message{Broadcast, "", "", "", []byte(`{}`), nil},
		},
		{
			"ping of any shape",
			`{"action":"ping","event":5,"payload":[1]}`,
			Message{Action: Ping, Payload: []byte(`{}`)},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			data := []byte(tc.in)
			m, err := Decode(data, Limits{Depth: 32})
			if err != nil {
				t.Fatal(err)
			}
			clear(data) // a read buffer is used again
			if !reflect.DeepEqual(m, tc.want) {
				t.Errorf("%+v, want %+v", m, tc.want)
			}
			if cap(m.Payload) != len(m.Payload) {
				t.Errorf("payload has %d bytes and room for %d", len(m.Payload), cap(m.Payload))
			}
		})
	}
}

func TestDecodeErrors(t *testing.T) {
	const rest = `"event":"e","channelName":"c\n","requestId":"r\u00e9"`
	for _, tc := range []struct {
		name, in string
		want     DecodeError
	}{
		{"text", `hello`, DecodeError{Message: `unexpected 'h' in JSON at offset 0`}},
		{"empty", ``, DecodeError{Message: `unexpected end of JSON`}},
		{"NUL", "\x00", DecodeError{Message: `unexpected '\x00' in JSON at offset 0`}},
		{"byte order mark", "\ufeff{}", DecodeError{Message: `unexpected '\ufeff' in JSON at offset 0`}},
		{"array", `[{"requestId":"r"}]`, DecodeError{Message: "clientMessage: Expected object, got array"}},
		{"null", ` null`, DecodeError{Message: "clientMessage: Expected object, got null"}},
		{"two documents", `{} {}`, DecodeError{Message: `unexpected '{' in JSON at offset 3`}},
		{"trailing comma", `{"a":1,}`, DecodeError{Message: `unexpected '}' in JSON at offset 7`}},
		{"mismatched brackets", `{"a":[1}`, DecodeError{Message: `unexpected '}' in JSON at offset 7`}},
		{"no colon", `{"a" 1}`, DecodeError{Message: `unexpected '1' in JSON at offset 5`}},
		{"name without quotes", `{a:1}`, DecodeError{Message: `unexpected 'a' in JSON at offset 1`}},
		{"raw line feed in a string", "{\"a\n\":1}", DecodeError{Message: `unexpected '\n' in JSON at offset 3`}},
		{"bad escape", `{"a\x":1}`, DecodeError{Message: `unexpected 'x' in JSON at offset 4`}},
		{"bad unicode escape", `{"\u12g4":1}`, DecodeError{Message: `unexpected 'g' in JSON at offset 6`}},
		{"bad literal", `{"a":nulL}`, DecodeError{Message: `unexpected 'L' in JSON at offset 8`}},
		{"leading zero", `{"a":01}`, DecodeError{Message: `unexpected '1' in JSON at offset 6`}},
		{"no fraction", `{"a":1.}`, DecodeError{Message: `unexpected '}' in JSON at offset 7`}},
		{"no exponent", `{"a":1e+}`, DecodeError{Message: `unexpected '}' in JSON at offset 8`}},
		{"unfinished string", `{"a":"`, DecodeError{Message: `unexpected end of JSON`}},
		{"unfinished escape", `{"a":"\`, DecodeError{Message: `unexpected end of JSON`}},
		{"invalid UTF-8", "{\"a\":\"\xc3\"}", DecodeError{Message: `invalid UTF-8 at offset 6`}},
		{"encoded surrogate", "{\"a\":\"\xed\xa0\x80\"}", DecodeError{Message: `invalid UTF-8 at offset 6`}},
		{
			"names are echoed as far as they were read",
			`{` + rest + `,"payload":{"v":NaN}}`,
			DecodeError{`unexpected 'N' in JSON at offset 70`, "ré", "c\n", NoLimit},
		},
		{
			"names that are no strings are not echoed",
			`{"action":"BROADCAST","event":"e","channelName":7,"requestId":"r"}`,
			DecodeError{"channelName: Expected string, got number", "r", "", NoLimit},
		},
		{
			"action that is no string",
			`{"action":12.5,` + rest + `}`,
			DecodeError{"action: Expected one of [JOIN_CHANNEL, LEAVE_CHANNEL, BROADCAST], got 12.5", "ré", "c\n", NoLimit},
		},
		{
			"action in quotes",
			`{"action":"a\n\u2028",` + rest + `}`,
			DecodeError{`action: Expected one of [JOIN_CHANNEL, LEAVE_CHANNEL, BROADCAST], got "a\n\u2028"`, "ré", "c\n", NoLimit},
		},
		{
			"action that is an object",
			`{"action":{"a":1},` + rest + `}`,
			DecodeError{"action: Expected one of [JOIN_CHANNEL, LEAVE_CHANNEL, BROADCAST], got object", "ré", "c\n", NoLimit},
		},
		{
			"action that is long",
			`{"action":"` + strings.Repeat("x", 64) + `",` + rest + `}`,
			DecodeError{"action: Expected one of [JOIN_CHANNEL, LEAVE_CHANNEL, BROADCAST], got string", "ré", "c\n", NoLimit},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m, err := Decode([]byte(tc.in), Limits{Depth: 32})
			if !reflect.DeepEqual(m, Message{}) {
				t.Errorf("message %+v", m)
			}
			if got, ok := errors.AsType[*DecodeError](err); !ok || *got != tc.want {
				t.Errorf("error %+v, want %+v", err, tc.want)
			} else if err.Error() != tc.want.Message {
				t.Errorf("error says %q", err)
			}
		})
	}
}

// Two names with different lone surrogates would become the same name, which neither
// client sent. So they are rejected, and not sent back in the answer.
func TestFault26_LoneSurrogatesInNames(t *testing.T) {
	const form = `{"action":%s,"event":%s,"requestId":%s,"channelName":%s}`
	const problem = ": Expected well-formed Unicode, got a lone surrogate"
	for _, lone := range []string{
		`"\ud83d"`, `"\ud83e"`, `"\uDE00"`, `"/chat/\ud83d"`, `"\ud83d\ud83d\ude00"`, `"\ud83d\\ude00"`, `"\ud83d\n"`, `"\ud83dude00"`,
		`"\ude00\ud83d"`, `"\ud83d\ude00\ude00"`, `"\ud83d\u0041"`,
	} {
		for i, want := range []DecodeError{
			{Message: "action: Expected one of [JOIN_CHANNEL, LEAVE_CHANNEL, BROADCAST], got " + lone, RequestID: "r", Channel: "c"},
			{Message: "event" + problem, RequestID: "r", Channel: "c"},
			{Message: "requestId" + problem, Channel: "c"},
			{Message: "channelName" + problem, RequestID: "r"},
		} {
			members := []any{`"JOIN_CHANNEL"`, `"e"`, `"r"`, `"c"`}
			members[i] = lone
			_, err := Decode(fmt.Appendf(nil, form, members...), Limits{Depth: 32})
			if got, ok := errors.AsType[*DecodeError](err); !ok || *got != want {
				t.Errorf("%s at %d: error %+v, want %+v", lone, i, err, want)
			}
		}
		// They are not sent back either if the message has another fault.
		_, err := Decode([]byte(`{"channelName":`+lone+`,"requestId":`+lone+`,"event":`), Limits{Depth: 32})
		if got, _ := errors.AsType[*DecodeError](err); got == nil || got.Channel != "" || got.RequestID != "" {
			t.Errorf("%s: error %+v", lone, err)
		}
	}
}

// Names that clients choose, and that others may receive without a check by a handler,
// are short. The limits count bytes of UTF-8 after decoding.
func TestFault18_LongNames(t *testing.T) {
	limits := Limits{Depth: 32, Event: 4, RequestID: 6}
	for _, tc := range []struct {
		event, requestID string // as they are written
		limit            Limit
		problem          string
	}{
		{`abcd`, `abcdef`, NoLimit, ""},
		{`\u0061\u0062\u0063\u0064`, `\u0061bcdef`, NoLimit, ""},
		{`\ud83d\ude00`, `éèà`, NoLimit, ""},
		{`abcde`, `abcdef`, EventLimit, "event: Expected at most 4 bytes"},
		{`\ud83d\ude00a`, `a`, EventLimit, "event: Expected at most 4 bytes"},
		{`a`, `éèàa`, RequestIDLimit, "requestId: Expected at most 6 bytes"},
		{``, strings.Repeat("x", 1<<20), RequestIDLimit, "requestId: Expected at most 6 bytes"},
	} {
		data := []byte(`{"action":"BROADCAST","event":"` + tc.event + `","channelName":"c","requestId":"` + tc.requestID + `","payload":{}}`)
		_, err := Decode(data, limits)
		if tc.limit == NoLimit {
			if err != nil {
				t.Errorf("%q, %q: %v", tc.event, tc.requestID, err)
			}
			continue
		}
		if got, ok := errors.AsType[*DecodeError](err); !ok || got.Limit != tc.limit || got.Message != tc.problem || got.Channel != "c" {
			t.Errorf("%.20q, %.20q: %.200v, want %q", tc.event, tc.requestID, err, tc.problem)
		}
		if _, err := Decode(data, Limits{Depth: 32}); err != nil {
			t.Errorf("%.20q, %.20q without limits: %v", tc.event, tc.requestID, err)
		}
		// The event of a request to join, in which clients repeat the action, is ignored.
		join := []byte(strings.Replace(string(data), "BROADCAST", "JOIN_CHANNEL", 1))
		if _, err := Decode(join, limits); (err == nil) != (tc.limit == EventLimit) {
			t.Errorf("%.20q, %.20q as a join: %v", tc.event, tc.requestID, err)
		}
	}
}

func TestDecodeDepth(t *testing.T) {
	message := func(payload string) []byte {
		return []byte(`{"action":"BROADCAST","event":"e","channelName":"c","requestId":"r","payload":` + payload + `}`)
	}
	arrays := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, maxDepth := range []int{2, 3, 16, 17, 18, 100} {
		inner := maxDepth - 2 // the message and its payload are two levels
		if _, err := Decode(message(`{"a":1}`), Limits{Depth: maxDepth}); err != nil {
			t.Errorf("depth 2 of %d: %v", maxDepth, err)
		}
		if _, err := Decode(message(`{"a":`+arrays(inner)+`}`), Limits{Depth: maxDepth}); err != nil && inner > 0 {
			t.Errorf("depth %d of %d: %v", maxDepth, maxDepth, err)
		}
		_, err := Decode(message(`{"a":`+arrays(inner+1)+`}`), Limits{Depth: maxDepth})
		if broken, _ := errors.AsType[*DecodeError](err); broken == nil || broken.Limit != DepthLimit || !strings.Contains(err.Error(), "nested deeper") {
			t.Errorf("depth %d of %d: %v", maxDepth+1, maxDepth, err)
		}
	}
	if _, err := Decode([]byte(`{}`), Limits{}); err == nil || !strings.Contains(err.Error(), "nested deeper than 0 levels") {
		t.Errorf("depth 1 of 0: %v", err)
	}
	if _, err := Decode([]byte(arrays(1<<20)), Limits{Depth: 1 << 20}); err == nil || !strings.Contains(err.Error(), "got array") {
		t.Errorf("a million levels: %v", err)
	}
}

func TestDecodeSharesNoPayload(t *testing.T) {
	decode := func(in string) []byte {
		m, err := Decode([]byte(in), Limits{Depth: 32})
		if err != nil {
			t.Fatal(err)
		}
		return m.Payload
	}
	empty := decode(`{"action":"ping"}`)
	_ = append(empty, "garbage"...)
	if got := decode(`{"action":"ping"}`); string(got) != `{}` {
		t.Errorf("empty payload is %q after one was appended to", got)
	}
}

// The extensions of a join are short, because parsing needs many times their bytes.
func TestFault15_RequestsOfAJoinAreLimited(t *testing.T) {
	for member, values := range map[string][2]string{
		"want": {`["` + strings.Repeat("x", 1020) + `"]`, `[` + strings.Repeat(`"",`, 1<<18) + `""]`},
		"from": {`{"last":7` + strings.Repeat(" ", 1014) + `}`, `{"last":7` + strings.Repeat(`,"x":0`, 1<<18) + `}`},
	} {
		join := func(value string) error {
			_, err := Decode([]byte(`{"action":"JOIN_CHANNEL","event":"e","channelName":"c","requestId":"r","`+member+`":`+value+`}`), Limits{Depth: 32})
			return err
		}
		if err := join(values[0]); err != nil {
			t.Errorf("%s of %d bytes: %v", member, len(values[0]), err)
		}
		if err := join(values[1]); err == nil || err.Error() != member+": Expected at most 1024 bytes" {
			t.Errorf("%s of %d bytes: %v", member, len(values[1]), err)
		}
	}
}
