package strictjson_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pondsocket/pond/internal/strictjson"
)

// Said has a field for each way in which encoding/json decodes.
//
//nolint:staticcheck,unused // odd tags and a field that nobody uses are a part of it
type Said struct {
	Text    string          `json:"text"`
	Kind    string          `json:"kind,omitempty"`
	Secret  *bool           `json:"secret"`
	Count   int             `json:"count,string"`
	Label   string          `json:"label,string"`
	Any     any             `json:"any"`
	Raw     json.RawMessage `json:"raw"`
	Reply   *Said           `json:"reply"`
	List    []Said          `json:"list"`
	Pair    [2]Author       `json:"pair"`
	Map     map[string]Said `json:"map"`
	Ints    map[int8]string
	Uints   map[uint]any
	Addrs   map[netip.Addr]int
	Levels  map[level]int
	Time    time.Time
	Addr    netip.Addr
	Custom  custom
	Bytes   []byte
	Number  json.Number
	Ignored string `json:"-"`
	Dash    string `json:"-,"`
	hidden  string
	Author
	*Meta
}

// Author is embedded.
type Author struct {
	Name string `json:"name"`
	Role string
}

// Meta is embedded as a pointer.
type Meta struct {
	Tags []string `json:"tags"`
	Text string   `json:"text"` // hidden by that of Said
}

// A custom decodes itself.
type custom struct{ text string }

func (c *custom) UnmarshalJSON(data []byte) error {
	c.text = string(data)
	return nil
}

// A level is decoded from text in any case.
type level int

func (l *level) UnmarshalText(text []byte) error {
	switch strings.ToLower(string(text)) {
	case "low":
		*l = 1
	case "high":
		*l = 2
	default:
		return errors.New("unknown level")
	}
	return nil
}

func TestFault25_Ambiguous(t *testing.T) {
	for text, problem := range map[string]string{
		`{"text":"<script>","TEXT":"hi"}`:                  `the name "TEXT" differs from "text" only in case`,
		`{"TEXT":"hi"}`:                                    `the name "TEXT" differs from "text" only in case`,
		`{"\u0054ext":"hi"}`:                               `the name "Text" differs from "text" only in case`, // of Meta, which is hidden
		`{"\u212aind":"x"}`:                                `the name "` + "\u212a" + `ind" differs from "kind" only in case`,
		`{"` + "\u212a" + `ind":"x"}`:                      `differs from "kind" only in case`,
		`{"\u017fecret":false}`:                            `differs from "secret" only in case`,
		`{"Secret":false}`:                                 `differs from "secret" only in case`,
		`{"NAME":"eve","name":"admin"}`:                    `differs from "name" only in case`,
		`{"role":"admin"}`:                                 `differs from "Role" only in case`,
		`{"TAGS":[]}`:                                      `differs from "tags" only in case`,
		`{"ints":{}}`:                                      `differs from "Ints" only in case`,
		`{"text":1,"text":1}`:                              `the name "text" occurs twice`,
		`{"text":"a","te\u0078t":"b"}`:                     `the name "text" occurs twice`,
		`{ "text" : "a" , "count" : "1" , "text" : "b" } `: `the name "text" occurs twice`,
		`{"x":1,"x":2}`:                                    `the name "x" occurs twice`,
		`{"x":1,"\u0078":2}`:                               `the name "x" occurs twice`,
		`{"":1,"":2}`:                                      `the name "" occurs twice`,
		`{"\"\\\/\b\f\n\r\t":1,"\u0022\u005c/\u0008\u000c\u000a\u000d\u0009":2}`: `occurs twice`,
		`{"\ud83d\ude00":1,"😀":2}`:                                               `occurs twice`,
		`{"name":"a","name":"b"}`:                                                `the name "name" occurs twice`,
		`{"tags":[],"tags":[]}`:                                                  `the name "tags" occurs twice`,
		// At every depth, for every type.
		`{"x":[{"y":{"z":1,"z":2}}]}`:          `the name "z" occurs twice`,
		`{"text":{"z":1,"z":2}}`:               `the name "z" occurs twice`, // which is no string
		`{"text":[{"z":1,"z":2}]}`:             `the name "z" occurs twice`,
		`{"secret":{"z":1,"z":2}}`:             `the name "z" occurs twice`,
		`{"any":{"z":1,"z":2}}`:                `the name "z" occurs twice`,
		`{"any":[[{"z":1,"z":2}]]}`:            `the name "z" occurs twice`,
		`{"raw":{"z":1,"z":2}}`:                `the name "z" occurs twice`,
		`{"raw":[{"z":{"a":1,"a":2}}]}`:        `the name "a" occurs twice`,
		`{"reply":{"reply":{"TEXT":"x"}}}`:     `the name "TEXT" differs from "text" only in case`,
		`{"reply":{"text":"a","text":"b"}}`:    `the name "text" occurs twice`,
		`{"list":[{"text":"a"},{"Text":"b"}]}`: `the name "Text" differs from "text" only in case`,
		`{"list":{"z":1,"z":2}}`:               `the name "z" occurs twice`,
		`{"pair":[{},{"NAME":"b"}]}`:           `the name "NAME" differs from "name" only in case`,
		`{"pair":[{},{},{"z":1,"z":2}]}`:       `the name "z" occurs twice`,
		`{"map":{"a":{},"a":{}}}`:              `the name "a" occurs twice`,
		`{"map":{"a":{"TEXT":"x"}}}`:           `the name "TEXT" differs from "text" only in case`,
		`{"Ints":{"7":"a","7":"b"}}`:           `the name "7" occurs twice`,
		`{"Ints":{"7":"a","07":"b"}}`:          `the name "07" is not the usual form of a number`,
		`{"Ints":{"+7":"b"}}`:                  `the name "+7" is not the usual form of a number`,
		`{"Ints":{"-0":"b"}}`:                  `the name "-0" is not the usual form of a number`,
		`{"Uints":{"007":1}}`:                  `the name "007" is not the usual form of a number`,
		`{"Uints":{"1":{"z":1,"z":2}}}`:        `the name "z" occurs twice`,
		`{"Addrs":{"::1":1,"0:0::1":2}}`:       `the name "0:0::1" becomes the same key as another name`,
		`{"Levels":{"low":1,"LOW":2}}`:         `the name "LOW" becomes the same key as another name`,
		`{"Custom":{"a":1,"a":2},"Custom":1}`:  `the name "Custom" occurs twice`,
		`{"custom":{}}`:                        `the name "custom" differs from "Custom" only in case`,
		`{"Time":{"z":1,"z":2},"time":1}`:      `the name "time" differs from "Time" only in case`,
		`{"text":"\ud83d"}`:                    `a string has a lone surrogate`,
		`{"text":"\ud83d\ud83d\ude00"}`:        `a string has a lone surrogate`,
		`{"list":[{"kind":"a\udfffb"}]}`:       `a string has a lone surrogate`,
		`{"any":["\ud800\u0041"]}`:             `a string has a lone surrogate`,
		`{"any":{"\ud800":1,"\ufffd":2}}`:      `a name has a lone surrogate`,
		`{"map":{"\ud800":{},"\ud801":{}}}`:    `a name has a lone surrogate`,
		`{"x":{"\ud800":{}}}`:                  `a name has a lone surrogate`,
		`{"\ud800":1}`:                         `a name has a lone surrogate`,
		`{"Addr":"::1\udc00"}`:                 `a string has a lone surrogate`,
		`{"label":"\"\\ud800\""}`:              `a string has a lone surrogate`,
		`{"` + strings.Repeat("é", 100) + `":1,"` + strings.Repeat("é", 100) + `":2}`: `the name "` + strings.Repeat("é", 32) + `"... occurs twice`,
		"{" + strings.Repeat(`"x`, 1) + `":0` + numbers(1000) + `,"500":1}`:           `the name "500" occurs twice`,
	} {
		var said, untouched Said
		err := strictjson.Unmarshal([]byte(text), &said)
		if ambiguous, ok := errors.AsType[*strictjson.AmbiguousError](err); !ok || !strings.Contains(ambiguous.Problem, problem) {
			t.Errorf("%.100s: %v, want %q", text, err, problem)
		}
		if !reflect.DeepEqual(said, untouched) {
			t.Errorf("%.100s: decoded %+v", text, said)
		}
	}
}

// numbers returns n members with different names, each after a comma.
func numbers(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(`,"` + string(json.Number(must(json.Marshal(i)))) + `":0`)
	}
	return b.String()
}

func must(b []byte, err error) string {
	if err != nil {
		panic(err)
	}
	return string(b)
}

// Unambiguous texts have the same result or error as with encoding/json.
func TestFault25_Unambiguous(t *testing.T) {
	for _, text := range []string{
		`{}`, ` { } `, `null`, `[]`, `"x"`, `1`, `{"text":1}`, `{"text":null,"reply":null,"list":null,"map":null,"pair":null,"Time":null}`,
		`{"text":"hi","kind":"k","secret":true,"count":"3","label":"\"x\"","any":{"a":[1,{"b":null}],"A":2},"raw":{"a":1,"A":2}}`,
		`{"reply":{"text":"a","reply":{"text":"b"}},"list":[{"text":"c"},{},{"list":[{}]}],"pair":[{"name":"d"}],"x":{"X":{"x":1}},"X":2}`,
		`{"map":{"a":{"text":"e"},"A":{"text":"f"}},"Ints":{"7":"a","-7":"b"},"Uints":{"7":1,"8":{}},"Addrs":{"::1":1,"::2":2},"Levels":{"LOW":1,"high":2}}`,
		`{"Time":"2026-01-01T00:00:00Z","Addr":"::1","Bytes":"aGk=","Number":12,"name":"n","Role":"r","tags":["a","a"]}`,
		`{"Custom":{"a":1,"a":2,"\ud800":"\ud800","A":[{"b":1,"b":2}]}}`, // its own responsibility
		`{"Ignored":1,"ignored":2,"hidden":1,"HIDDEN":2,"-":"dash"}`,     // no fields, but for the last one
		`{"x":"\ud800","raw":["\ud800"]}`, // not decoded
		`{"text":"\ud83d\ude00\ufffd\\ud800","any":"\\\\ud800"}`,
		`{"Ints":{"x":1}}`, `{"Ints":{"300":"x"}}`, `{"Addrs":{"x":1}}`, `{"Levels":{"x":1,"y":2}}`, `{"count":3}`, `{"count":{"a":1}}`,
		`{"pair":[{},{},{"TEXT":1}]}`, // which encoding/json skips
		`{"a":1`, `{"a"`, `{"a":`, `{a:1}`, `{"a":1,}`, `[1,,2]`, `{"\`, `{"\u12`, `{"\u12x4":1}`, `{"text":"\ud8"}`, ``, ` `, `{"a":1}}`, `{"x":"`, `{"list":[{"text":"`,
		strings.Repeat("[", 1<<20), strings.Repeat(`{"reply":`, 1<<17), `{"any":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`,
	} {
		var got, want Said
		err, wantErr := strictjson.Unmarshal([]byte(text), &got), json.Unmarshal([]byte(text), &want)
		if !reflect.DeepEqual(err, wantErr) || !reflect.DeepEqual(got, want) {
			t.Errorf("%.100s: %+v, %v; want %+v, %v", text, got, err, want, wantErr)
		}
	}
}

// An invalid target is not a fault of the author of the text.
func TestInvalidTarget(t *testing.T) {
	for _, v := range []any{nil, Said{}, (*Said)(nil), 1} {
		err := strictjson.Unmarshal([]byte(`{"a":1,"a":2}`), v)
		if _, ok := errors.AsType[*json.InvalidUnmarshalError](err); !ok {
			t.Errorf("%T: %v", v, err)
		}
	}
}

// An interface may hold a pointer, into which encoding/json decodes.
func TestFault25_ValuesBehindInterfaces(t *testing.T) {
	type envelope struct {
		Body any
		List []any
		Pair [1]any
		Map  map[string]any
		Next *envelope
	}
	spare := []any{&Said{}}
	for name, test := range map[string]struct {
		target any
		text   string
		ok     bool
	}{
		"nil":               {&envelope{}, `{"Body":{"TEXT":1}}`, true},
		"pointer":           {&envelope{Body: &Said{}}, `{"Body":{"TEXT":"x"}}`, false},
		"exact":             {&envelope{Body: &Said{}}, `{"Body":{"text":"x"}}`, true},
		"no pointer":        {&envelope{Body: Said{}}, `{"Body":{"TEXT":1}}`, true},
		"nil pointer":       {&envelope{Body: (*Said)(nil)}, `{"Body":{"TEXT":1}}`, true},
		"pointers":          {&envelope{Body: new(new(&Said{}))}, `{"Body":{"TEXT":1}}`, false},
		"nil behind it":     {&envelope{Body: new(*Said)}, `{"Body":{"TEXT":1}}`, false},
		"interfaces":        {&envelope{Body: new(any(&Said{}))}, `{"Body":{"TEXT":1}}`, false},
		"slice":             {&envelope{Body: &[]Said{}}, `{"Body":[{"TEXT":1}]}`, false},
		"element":           {&envelope{List: []any{nil, &Said{}}}, `{"List":[{"TEXT":1},{"TEXT":1}]}`, false},
		"element before":    {&envelope{List: []any{nil, &Said{}}}, `{"List":[{"TEXT":1},{"text":"x"}]}`, true},
		"spare element":     {&envelope{List: spare[:0]}, `{"List":[{"TEXT":1}]}`, false},
		"element of array":  {&envelope{Pair: [1]any{&Said{}}}, `{"Pair":[{"TEXT":1}]}`, false},
		"map":               {&envelope{Map: map[string]any{"a": &Said{}}}, `{"Map":{"a":{"TEXT":1}}}`, true}, // replaced
		"below a pointer":   {&envelope{Next: &envelope{Body: &Said{}}}, `{"Next":{"Body":{"TEXT":1}}}`, false},
		"below nil":         {&envelope{}, `{"Next":{"Body":{"TEXT":1},"Next":{"Body":{"TEXT":1}}}}`, true},
		"any":               {new(any(&Said{})), `{"TEXT":1}`, false},
		"any of nothing":    {new(any), `{"TEXT":1,"text":2}`, true},
		"any, twice":        {new(any), `{"TEXT":1,"TEXT":2}`, false},
		"method":            {&envelope{Body: &custom{}}, `{"Body":{"a":1,"a":2}}`, true},
		"raw":               {&envelope{Body: &json.RawMessage{}}, `{"Body":{"a":1,"a":2}}`, false},
		"method in a slice": {&envelope{Body: &[]custom{}}, `{"Body":[{"a":1,"a":2}]}`, true},
	} {
		err := strictjson.Unmarshal([]byte(test.text), test.target)
		if _, ambiguous := errors.AsType[*strictjson.AmbiguousError](err); ambiguous == test.ok {
			t.Errorf("%s: %v", name, err)
		}
	}

	var self any
	self = &self // encoding/json replaces it
	if err := strictjson.Unmarshal([]byte(`{"a":{"b":1}}`), &self); err != nil {
		t.Error(err)
	}
}

// An object with many names costs a small multiple of its bytes, and one that is
// decoded into a struct nothing.
func TestAllocations(t *testing.T) {
	said := []byte(`{"text":"hi","kind":"k","secret":true,"reply":{"text":"a","list":[{"text":"b"},{"text":"c"}]},"x":{"a":1,"b":2}}`)
	var v Said
	plain := testing.AllocsPerRun(100, func() { v = Said{}; _ = json.Unmarshal(said, &v) })
	strict := testing.AllocsPerRun(100, func() { v = Said{}; _ = strictjson.Unmarshal(said, &v) })
	if strict > plain {
		t.Errorf("%v allocations, %v with encoding/json", strict, plain)
	}
	many := []byte(`{"x":0` + numbers(100_000) + `}`)
	var m map[string]int
	plain = testing.AllocsPerRun(1, func() { m = nil; _ = json.Unmarshal(many, &m) })
	strict = testing.AllocsPerRun(1, func() { m = nil; _ = strictjson.Unmarshal(many, &m) })
	if strict > 2*plain {
		t.Errorf("many names: %v allocations, %v with encoding/json", strict, plain)
	}
}

func BenchmarkUnmarshal(b *testing.B) {
	type message struct {
		Text string   `json:"text"`
		To   []string `json:"to"`
		At   int64    `json:"at"`
	}
	small := []byte(`{"text":"hello, world!!"}`)
	usual := []byte(`{"text":"hello, world, this is an ordinary message of a chat","to":["ann","bob"],"at":1735689600000}`)
	large := []byte(`{"text":"` + strings.Repeat("hello ", 2000) + `"}`)
	nested := []byte(`{"text":"a","reply":{"text":"b","reply":{"text":"c"},"list":[{"text":"d"},{"text":"e","any":{"a":1,"b":[2,3]}}]}}`)
	for name, run := range map[string]func(unmarshal func([]byte, any) error) error{
		"small":  func(unmarshal func([]byte, any) error) error { var v message; return unmarshal(small, &v) },
		"usual":  func(unmarshal func([]byte, any) error) error { var v message; return unmarshal(usual, &v) },
		"large":  func(unmarshal func([]byte, any) error) error { var v message; return unmarshal(large, &v) },
		"nested": func(unmarshal func([]byte, any) error) error { var v Said; return unmarshal(nested, &v) },
		"any":    func(unmarshal func([]byte, any) error) error { var v any; return unmarshal(nested, &v) },
	} {
		for reader, unmarshal := range map[string]func([]byte, any) error{"plain": json.Unmarshal, "strict": strictjson.Unmarshal} {
			b.Run(name+"/"+reader, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := run(unmarshal); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
