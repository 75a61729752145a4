package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"
)

// depth returns the nesting depth of the containers of valid JSON.
func depth(data []byte) (deepest int) {
	open, inString := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case !inString && (c == '{' || c == '['):
			open++
			deepest = max(deepest, open)
		case !inString && (c == '}' || c == ']'):
			open--
		}
	}
	return deepest
}

// compacted returns valid JSON without white space, by encoding/json.
func compacted(t *testing.T, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := json.Compact(&buf, data); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// reference decodes a message with encoding/json. A map keeps its keys unchanged,
// whereas the fields of a struct also match keys in other case.
func reference(t *testing.T, data []byte, maxDepth int) (m Message, ok bool) {
	t.Helper()
	if !json.Valid(data) || !utf8.Valid(data) || depth(data) > maxDepth || bytes.TrimLeft(data, " \t\r\n")[0] != '{' {
		return m, false
	}
	values := unmarshal[map[string]json.RawMessage](t, data)
	str := func(name string) string {
		var s *string
		if json.Unmarshal(values[name], &s) != nil || s == nil {
			ok = false
			return ""
		}
		return *s
	}
	ok = true
	m = Message{Action: Action(str("action")), Payload: []byte(`{}`)}
	if m.Action == Ping {
		return m, ok
	}
	m.Event, m.Channel, m.RequestID = str("event"), str("channelName"), str("requestId")
	ok = ok && !halfSurrogate(values["event"]) && !halfSurrogate(values["channelName"]) && !halfSurrogate(values["requestId"])
	if payload := values["payload"]; payload != nil && string(payload) != "null" {
		ok = ok && payload[0] == '{'
		m.Payload = compacted(t, payload)
	}
	return m, ok && slices.Contains([]Action{JoinChannel, LeaveChannel, Broadcast}, m.Action)
}

// halfSurrogate reports whether an escape of a JSON string is a surrogate without its
// other half.
func halfSurrogate(s []byte) bool {
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			continue
		}
		if i++; s[i] != 'u' {
			continue
		}
		r := escaped(s[i-1:])
		i += 4
		if !utf16.IsSurrogate(r) {
			continue
		}
		if utf16.DecodeRune(r, escaped(s[i+1:])) == utf8.RuneError {
			return true
		}
		i += 6
	}
	return false
}

// escaped returns the code unit of the escape at the start of s, or -1.
func escaped(s []byte) rune {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return -1
	}
	n, err := strconv.ParseUint(string(s[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return rune(n)
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(broadcast))
	f.Add([]byte(`{"action":"ping"}`))
	f.Add([]byte("\t{ \"action\" : \"JOIN_CHANNEL\",\"event\":\"\",\"channelName\":\"\\ud83d\\ude00\",\"requestId\":\"\\ud800\"}\n"))
	f.Add([]byte(`{"action":"JOIN_CHANNEL","event":"\ud83d\ude00","channelName":"\uD83D\uDE00\\ud800","requestId":""}`))
	f.Add([]byte(`{"event":"e","channelName":"c","requestId":"r","payload":{ "a" : [ {}, [ ], "\\\" " ] },"action":"\u0042ROADCAST"}`))
	f.Add([]byte(`{"event":1,"event":"e","channelName":null,"requestId":"r","payload":null,"action":"LEAVE_CHANNEL","payload":{}}`))
	f.Add([]byte(`{"a":[[[[[[[-0.5e+10,true,false,null]]]]]]],"b":[[[[[[[[1]]]]]]]]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		const maxDepth = 8
		want, ok := reference(t, data, maxDepth)
		scratch := bytes.Clone(data)
		m, err := Decode(scratch, Limits{Depth: maxDepth})
		clear(scratch) // nothing may refer to the read buffer
		if (err == nil) != ok {
			t.Fatalf("%q: %v; encoding/json accepts it: %t", data, err, ok)
		}
		if err != nil {
			checkRefusal(t, err)
			return
		}
		if !reflect.DeepEqual(m, want) {
			t.Fatalf("%q: %+v, want %+v", data, m, want)
		}
		if m.Action == Ping {
			return
		}
		frame := AppendMessage(nil, m.Action, m.Event, m.Channel, m.RequestID, m.Payload)
		if again, err := Decode(frame, Limits{Depth: maxDepth}); err != nil || !reflect.DeepEqual(again, m) {
			t.Errorf("%q again: %+v, %v; want %+v", frame, again, err, m)
		}
		clientAccepts(t, AppendMessage(nil, System, m.Event, m.Channel, m.RequestID, m.Payload))
	})
}

// checkRefusal checks that a client can be answered with the error.
func checkRefusal(t *testing.T, err error) {
	t.Helper()
	refused, ok := errors.AsType[*DecodeError](err)
	if !ok {
		t.Fatalf("error %#v", err)
	}
	if refused.Message == "" || len(refused.Message) > 256 || !utf8.ValidString(refused.Message) {
		t.Errorf("message %q", refused.Message)
	}
	clientAccepts(t, AppendMessage(nil, ErrorAction, InvalidMessage, refused.Channel, refused.RequestID,
		AppendError(nil, InvalidMessage, refused.Message, 400)))
}

func FuzzView(f *testing.F) {
	f.Add([]byte(` { "a b" : [ "\" ", 1 ] } `))
	f.Add([]byte("{\"a\":\"\xff\"}"))
	f.Add([]byte(`[1e999]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		valid := json.Valid(data) && utf8.Valid(data)
		got, err := View(json.RawMessage(data))
		null := valid && string(compacted(t, data)) == "null"
		if want := null || valid && bytes.TrimLeft(data, " \t\r\n")[0] == '{'; (err == nil) != want {
			t.Fatalf("%q: %v; encoding/json accepts it: %t", data, err, valid)
		}
		if err == nil && !null && !bytes.Equal(got, compacted(t, data)) {
			t.Errorf("%q: %q", data, got)
		}
		value, err := Value(json.RawMessage(data))
		if (err == nil) != valid {
			t.Fatalf("value %q: %v; encoding/json accepts it: %t", data, err, valid)
		}
		if err == nil && !bytes.Equal(value, compacted(t, data)) {
			t.Errorf("value %q: %q", data, value)
		}
	})
}

func FuzzAppendString(f *testing.F) {
	f.Add("")
	f.Add("plain")
	f.Add("\x00\x1f\"\\\n\r\t\b\f/<>&\x7f")
	f.Add("é😀\u2028\u2029\uFFFD\ufeff")
	f.Add("\xff\xc3\xed\xa0\x80\xf4\x90\x80\x80")
	f.Fuzz(func(t *testing.T, s string) {
		// Each byte that is not UTF-8 becomes a separate replacement character.
		want := string([]rune(s))
		encoded := AppendString(nil, s)
		if got := unmarshal[string](t, encoded); got != want {
			t.Fatalf("%q: %s is %q", s, encoded, got)
		}
		if !utf8.Valid(encoded) || bytes.ContainsFunc(encoded, func(r rune) bool {
			return r < ' ' || r == '\u2028' || r == '\u2029'
		}) {
			t.Errorf("%q: %q has characters that must be escaped", s, encoded)
		}
		var back strings.Builder
		writeText(&back, encoded)
		if back.String() != want {
			t.Errorf("%q: %s is read as %q", s, encoded, back.String())
		}
		checkFrames(t, s, want)
	})
}

// checkFrames checks that official clients accept the encoded form of s, and decode it
// to want.
func checkFrames(t *testing.T, s, want string) {
	t.Helper()
	text := object(t, map[string]string{s: s})
	for _, a := range []Action{Connect, System, Broadcast, ErrorAction} {
		read := clientAccepts(t, AppendMessage(nil, a, s, s, s, text))
		if read["event"] != want || read["channelName"] != want || read["requestId"] != want {
			t.Errorf("%q is read as %v", want, read)
		}
	}
	for _, payload := range [][]byte{
		AppendError(nil, s, s, 404),
		AppendErrorDetails(nil, s, s, 404, text),
		AppendHandlerError(nil, s, 500, nil),
		AppendHandlerError(nil, s, 500, text),
	} {
		read := clientAccepts(t, AppendMessage(nil, ErrorAction, s, s, s, payload))
		if got := read["payload"].(map[string]any)["message"]; got != want {
			t.Errorf("message %q is read as %q", want, got)
		}
	}
	for _, event := range []string{PresenceJoin, PresenceUpdate, PresenceLeave} {
		item := map[string]string{s: s}
		clientAccepts(t, presence(t, event, s, s, []any{item}, item))
		clientAccepts(t, presence(t, event, s, s, []any{}, item))
	}
}
