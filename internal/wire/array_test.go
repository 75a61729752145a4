package wire_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/pondsocket/pond/internal/wire"
)

func broadcast(i int) string {
	return fmt.Sprintf(`{"action":"BROADCAST","event":"e","channelName":"/c","requestId":"%d","payload":{"i":%[1]d}}`, i)
}

// A body of several messages (rule X-22) is decoded to these messages, or to an error
// with the index of the first invalid one.
func TestDecodeArray(t *testing.T) {
	limits := wire.Limits{Depth: 3, Event: 10, RequestID: 10}
	ping, one := `{"action":"ping"}`, broadcast(1)
	for data, want := range map[string]struct {
		n     int
		text  string
		limit wire.Limit
	}{
		`[]`:                                  {0, "", 0},
		" \t\r\n[ ] \n":                       {0, "", 0},
		"[" + one + "]":                       {1, "", 0},
		" [ " + one + " , " + ping + " ] ":    {2, "", 0},
		`[{"action":"ping","x":[[]]}]`:        {1, "", 0},
		``:                                    {0, "unexpected end of JSON", 0},
		`{}`:                                  {0, "unexpected '{' in JSON at offset 0", 0},
		`[`:                                   {0, "messages[0]: unexpected end of JSON", 0},
		`[,]`:                                 {0, "messages[0]: unexpected ',' in JSON at offset 1", 0},
		"[" + ping + ",]":                     {0, "messages[1]: unexpected ']' in JSON at offset 19", 0},
		"[" + ping + " " + ping + "]":         {0, "messages[1]: unexpected '{' in JSON at offset 19", 0},
		"[" + ping + "":                       {0, "messages[1]: unexpected end of JSON", 0},
		"[" + ping + "] []":                   {0, "unexpected '[' in JSON at offset 20", 0},
		"[" + ping + `,{"action":"ping"]`:     {0, "messages[1]: unexpected ']' in JSON at offset 35", 0},
		"[" + one + `,{"action":"X"}]`:        {0, "messages[1]: event: Missing required field", 0},
		"[" + one + `,null]`:                  {0, "messages[1]: clientMessage: Expected object, got null", 0},
		"[" + one + `,[` + one + `]]`:         {0, "messages[1]: clientMessage: Expected object, got array", 0},
		"[" + one + `,"x",7]`:                 {0, "messages[1]: clientMessage: Expected object, got string", 0},
		"[" + ping + `,{"a":{"b":{"c":{}}}}]`: {0, "messages[1]: JSON nested deeper than 3 levels at offset 34", wire.DepthLimit},
		"[" + ping + ",\"\xff\"]":             {0, "messages[1]: invalid UTF-8 at offset 20", 0},
		"[" + one + "," + strings.Replace(one, `"e"`, `"eeeeeeeeeee"`, 1) + "]": {0, "messages[1]: event: Expected at most 10 bytes", wire.EventLimit},
	} {
		got, err := wire.DecodeArray([]byte(data), limits)
		bad, _ := errors.AsType[*wire.DecodeError](err)
		switch {
		case want.text == "" && (err != nil || len(got) != want.n):
			t.Errorf("%s: %d messages, %v", data, len(got), err)
		case want.text != "" && (bad == nil || got != nil || bad.Limit != want.limit):
			t.Errorf("%s: %v, %+v", data, got, bad)
		case want.text != "" && bad.Message != want.text:
			t.Errorf("%s: %q, want %q", data, bad.Message, want.text)
		}
		trimmed := strings.ReplaceAll(strings.TrimSpace(data), " ", "")
		if array := strings.HasPrefix(trimmed, "[") && trimmed != "[]"; wire.IsArray([]byte(data)) != array {
			t.Errorf("%s: IsArray is %t", data, !array)
		}
	}
}

// The messages of an array do not share memory with it, and are the same as when
// decoded alone.
func FuzzDecodeArray(f *testing.F) {
	f.Add(broadcast(1), `{"action":"ping"}`)
	f.Add(" "+broadcast(2)+"\n", `[]`)
	f.Add(`{"a":"]"}`, `"`)
	limits := wire.Limits{Depth: 4, Event: 10, RequestID: 10}
	f.Fuzz(func(t *testing.T, a, b string) {
		data := []byte("[" + a + "," + b + "]")
		got, err := wire.DecodeArray(data, limits)
		first, errA := wire.Decode([]byte(a), limits)
		second, errB := wire.Decode([]byte(b), limits)
		clear(data)
		switch {
		case errA == nil && errB == nil:
			if err != nil || len(got) != 2 || !reflect.DeepEqual(got[0], first) || !reflect.DeepEqual(got[1], second) {
				t.Errorf("%v, %v, want %v and %v", got, err, first, second)
			}
		case err == nil && (len(got) == 2 || len(got) == 0):
			t.Errorf("%v of %q, %q, which are wrong alone: %v, %v", got, a, b, errA, errB)
		case err != nil && got != nil:
			t.Error("messages and an error")
		}
	})
}
