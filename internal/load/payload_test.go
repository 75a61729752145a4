package load

import (
	"strings"
	"testing"
)

func TestPayload(t *testing.T) {
	c := &Client{Number: 12, Room: 3}
	for template, want := range map[string]string{
		`{"text":"{{.Text}}"}`: `{"text":"abc"}`,
		`{"a":{"b":["x {{ .Text }} y"]},"n":{{.Client}},"room":"r{{.Room}}"}`: `{"a":{"b":["x abc y"]},"n":12,"room":"r3"}`,
	} {
		p, err := ParsePayload(template)
		if err != nil {
			t.Errorf("%s: %v", template, err)
			continue
		}
		if got := string(p.append(nil, c, []byte("abc"))); got != want {
			t.Errorf("%s: %s, want %s", template, got, want)
		}
	}
	if got := string(Payload{}.append(nil, c, []byte("abc"))); got != `{"b":"abc"}` {
		t.Errorf("default: %s", got)
	}
}

func TestInvalidPayloads(t *testing.T) {
	for template, want := range map[string]string{
		`{"text":"hello"}`:                          "{{.Text}} occurs 0 times",
		`{"a":"{{.Text}}","b":"{{.Text}}"}`:         "{{.Text}} occurs 2 times",
		`["{{.Text}}"]`:                             "not a JSON object",
		`{{.Text}}`:                                 "not a JSON object",
		`{"text":{{.Text}}}`:                        "not a JSON object",
		`{"{{.Text}}":1}`:                           "must be inside a string",
		`{"text":"{{.Text}}"`:                       "not a JSON object",
		`{"text":"{{.Text}"}`:                       "a placeholder has no }}",
		`{"text":"{{.Text}}","user":"{{.UserID}}"}`: "unknown placeholder {{.UserID}}",
	} {
		if _, err := ParsePayload(template); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q in it", template, err, want)
		}
	}
}

// With a payload of the application, the size still includes everything.
func TestPayloadAndSize(t *testing.T) {
	p, err := ParsePayload(`{"text":"{{.Text}}","to":["all"]}`)
	if err != nil {
		t.Fatal(err)
	}
	d := Pond{Channel: "/chat/1", Payload: p}
	c := &Client{}
	body := append(stamp{published, 0, 7, 9, 1}.append(nil), padding(d, c, 300)...)
	message := d.AppendPublish(nil, c, body)
	if len(message) != 300 || !strings.Contains(string(message), `"requestId":"00007"`) {
		t.Errorf("%d bytes: %s", len(message), message)
	}
}
