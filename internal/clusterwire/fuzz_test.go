package clusterwire

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzDecode checks that accepted messages are valid JSON with the values that
// encoding/json decodes, and that they can be encoded and decoded again.
func FuzzDecode(f *testing.F) {
	for _, v := range readVectors(f) {
		if kind, _, _ := strings.Cut(v.Name, "/"); kind != "topic" && kind != "subscribe" {
			f.Add(v.message())
		}
	}
	for _, t := range types {
		m := message(t)
		data, _ := Append(nil, &m)
		f.Add(data)
		f.Add(bytes.ReplaceAll(data, []byte(`:`), []byte(" :\n\t")))
	}
	limits := Limits{Bytes: 1 << 16, Depth: 16, Users: 100}
	f.Fuzz(func(t *testing.T, data []byte) {
		var envelope map[string]json.RawMessage
		_ = json.Unmarshal(data, &envelope)
		str := func(name string) (s string) {
			_ = json.Unmarshal(envelope[name], &s)
			return s
		}
		before := bytes.Clone(data)
		m, err := Decode(data, str("endpointName"), str("channelName"), limits)
		if !bytes.Equal(data, before) {
			t.Fatalf("%q was changed to %q", before, data)
		}
		if err != nil {
			if _, ok := errors.AsType[Reason](err); !ok || !reflect.DeepEqual(m, Message{}) {
				t.Fatalf("%q: %v, %+v", data, err, m)
			}
			return
		}
		if !json.Valid(data) || !utf8.Valid(data) || len(data) > limits.Bytes {
			t.Fatalf("%q was accepted", data)
		}
		if m.Source != str("sourceNodeId") || m.Source == "" || string(m.Type) != str("type") || m.ID != str("messageId") {
			t.Fatalf("%q: %+v", data, m)
		}
		checkValues(t, &m)
		again(t, &m)
	})
}

// checkValues checks that all JSON values of a message are compact, and that they are
// objects if required.
func checkValues(t *testing.T, m *Message) {
	t.Helper()
	objects := [][]byte{m.Assigns, m.Presence}
	for _, u := range m.Users {
		objects = append(objects, u.Assigns, u.Presence)
	}
	for _, o := range objects {
		if o != nil && !isObject(o) {
			t.Errorf("%q is not an object", o)
		}
	}
	for _, v := range append(objects, m.Payload, m.Value) {
		if v == nil {
			continue
		}
		var buf bytes.Buffer
		if err := json.Compact(&buf, v); err != nil || !bytes.Equal(buf.Bytes(), v) {
			t.Errorf("%q is not compact: %v", v, err)
		}
	}
}

// again encodes and decodes a message, unless it is a message that must not be sent.
func again(t *testing.T, m *Message) {
	t.Helper()
	if m.Type == AssignsUpdate && m.Assigns == nil {
		return
	}
	data, err := Append(nil, m)
	if err != nil {
		return
	}
	got, err := Decode(data, m.Endpoint, m.Channel, Limits{Bytes: 10 << 16, Depth: 16, Users: 100})
	if err != nil || !reflect.DeepEqual(got, *m) {
		t.Errorf("%s: %+v, %v; want %+v", data, got, err, m)
	}
	if !IsFrom(data, m.Source) && utf8.ValidString(m.Source) && !strings.ContainsAny(m.Source, "\"\\") && !hasControl(m.Source) {
		t.Errorf("%s is not from %q", data, m.Source)
	}
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' })
}
