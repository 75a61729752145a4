package strictjson_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/pondsocket/pond/internal/strictjson"
)

// A reader reads JSON as JavaScript does: strings are sequences of UTF-16 code units,
// names are compared exactly, and objects keep all members.
type reader struct {
	text string
}

// A jsMember is one member of an object.
type jsMember struct {
	name  string
	value any
}

// jsObject, []any, string, json.Number, bool and nil are the values of a reader.
type jsObject []jsMember

// first and last are the two ways in which readers look up a name.
func (o jsObject) first(name string) (any, bool) {
	for _, m := range o {
		if m.name == name {
			return m.value, true
		}
	}
	return nil, false
}

func (o jsObject) last(name string) (value any, ok bool) {
	for _, m := range o {
		if m.name == name {
			value, ok = m.value, true
		}
	}
	return value, ok
}

// value reads a value of valid JSON.
func (r *reader) value() any {
	r.space()
	switch r.text[0] {
	case '{':
		object := jsObject{}
		for r.skip(); r.text[0] != '}'; {
			if r.text[0] == ',' {
				r.skip()
			}
			name := r.str()
			r.space()
			r.skip() // the colon
			object = append(object, jsMember{name, r.value()})
			r.space()
		}
		r.text = r.text[1:]
		return object
	case '[':
		array := []any{}
		for r.skip(); r.text[0] != ']'; r.space() {
			if r.text[0] == ',' {
				r.skip()
			}
			array = append(array, r.value())
		}
		r.text = r.text[1:]
		return array
	case '"':
		return r.str()
	}
	end := strings.IndexAny(r.text+",", ",]} \t\r\n")
	word := r.text[:end]
	r.text = r.text[end:]
	switch word {
	case "null":
		return nil
	case "true", "false":
		return word == "true"
	}
	return json.Number(word)
}

func (r *reader) space() { r.text = strings.TrimLeft(r.text, " \t\r\n") }

func (r *reader) skip() {
	r.text = r.text[1:]
	r.space()
}

// str reads a string. A lone surrogate becomes its invalid UTF-8 encoding, so it is
// only equal to itself.
func (r *reader) str() string {
	var units []uint16
	for r.text = r.text[1:]; r.text[0] != '"'; {
		c, size := utf8.DecodeRuneInString(r.text)
		if c != '\\' {
			units = utf16.AppendRune(units, c)
			r.text = r.text[size:]
			continue
		}
		escaped := r.text[1]
		r.text = r.text[2:]
		if escaped == 'u' {
			n, _ := strconv.ParseUint(r.text[:4], 16, 16)
			units = append(units, uint16(n))
			r.text = r.text[4:]
			continue
		}
		if i := strings.IndexByte("bfnrt", escaped); i >= 0 {
			escaped = "\b\f\n\r\t"[i]
		}
		units = append(units, uint16(escaped))
	}
	r.text = r.text[1:]
	var b []byte
	for i := 0; i < len(units); i++ {
		c := rune(units[i])
		if i+1 < len(units) {
			if pair := utf16.DecodeRune(c, rune(units[i+1])); pair != utf8.RuneError {
				c = pair
				i++
			}
		}
		if utf16.IsSurrogate(c) {
			b = append(b, 0xE0|byte(c>>12), 0x80|byte(c>>6)&0xBF, 0x80|byte(c)&0xBF)
			continue
		}
		b = utf8.AppendRune(b, c)
	}
	return string(b)
}

// agrees reports whether v is the value for a reader that looks up names with lookup.
func agrees(t *testing.T, path string, v reflect.Value, seen any, lookup func(jsObject, string) (any, bool)) {
	t.Helper()
	switch v.Type() {
	case reflect.TypeFor[custom](), reflect.TypeFor[json.RawMessage]():
		return // decodes nothing, or by itself
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			if seen != nil {
				t.Errorf("%s: decoded nothing, but readers see %v", path, seen)
			}
			return
		}
		if v.Kind() == reflect.Interface {
			agreesAny(t, path, v.Interface(), seen, lookup)
			return
		}
		agrees(t, path, v.Elem(), seen, lookup)
		return
	}
	if seen == nil { // null, or no such member: as before
		if !v.IsZero() {
			t.Errorf("%s: decoded %v, but readers see nothing", path, v)
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		object, ok := seen.(jsObject)
		if !ok {
			t.Errorf("%s: decoded %v, but readers see %v", path, v, seen)
			return
		}
		for _, f := range reflect.VisibleFields(v.Type()) {
			name, option, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "" {
				name = f.Name
			}
			if name == "-" && option == "" || f.Anonymous {
				continue
			}
			member, _ := lookup(object, name)
			field, err := v.FieldByIndexErr(f.Index)
			if err != nil { // in an embedded pointer that is nil
				if member != nil {
					t.Errorf("%s.%s: decoded nothing, but readers see %v", path, name, member)
				}
				continue
			}
			if text, ok := member.(string); ok && option == "string" {
				member = (&reader{text}).value()
			}
			agrees(t, path+"."+name, field, member, lookup)
		}
	case reflect.Slice, reflect.Array:
		array, ok := seen.([]any)
		if !ok {
			t.Errorf("%s: decoded %v, but readers see %v", path, v, seen)
			return
		}
		for i := range v.Len() {
			var element any
			if i < len(array) {
				element = array[i]
			}
			agrees(t, path+"[]", v.Index(i), element, lookup)
		}
	case reflect.Map:
		object, ok := seen.(jsObject)
		if !ok || v.Len() != len(object) {
			t.Errorf("%s: decoded %v, but readers see %v", path, v, seen)
			return
		}
		if v.Type().Key() == reflect.TypeFor[level]() { // which has a method of its own
			return
		}
		for _, key := range v.MapKeys() {
			member, ok := lookup(object, key.String())
			if key.CanInt() {
				member, ok = lookup(object, strconv.FormatInt(key.Int(), 10))
			}
			if !ok {
				t.Errorf("%s: decoded %v, but readers see %v", path, v, seen)
			}
			agrees(t, path+"."+key.String(), v.MapIndex(key), member, lookup)
		}
	case reflect.String:
		want, ok := seen.(string)
		if n, isNumber := seen.(json.Number); isNumber {
			want, ok = string(n), true // a json.Number
		}
		if !ok || v.String() != want {
			t.Errorf("%s: decoded %q, but readers see %q", path, v.String(), seen)
		}
	case reflect.Bool:
		if v.Bool() != seen {
			t.Errorf("%s: decoded %v, but readers see %v", path, v, seen)
		}
	case reflect.Int:
		if n, ok := seen.(json.Number); !ok || strconv.FormatInt(v.Int(), 10) != strings.Replace(string(n), "-0", "0", 1) && n != "-0" {
			t.Errorf("%s: decoded %v, but readers see %v", path, v, seen)
		}
	default:
		t.Fatalf("%s: a %v", path, v.Kind())
	}
}

func agreesAny(t *testing.T, path string, v, seen any, lookup func(jsObject, string) (any, bool)) {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		object, ok := seen.(jsObject)
		if !ok || len(object) != len(v) {
			t.Errorf("%s: decoded %v, but readers see %v", path, v, seen)
			return
		}
		for name, member := range v {
			other, _ := lookup(object, name)
			agreesAny(t, path+"."+name, member, other, lookup)
		}
	case []any:
		array, ok := seen.([]any)
		if !ok || len(array) != len(v) {
			t.Errorf("%s: decoded %v, but readers see %v", path, v, seen)
			return
		}
		for i := range v {
			agreesAny(t, path+"[]", v[i], array[i], lookup)
		}
	case float64:
		n, _ := seen.(json.Number)
		if f, err := strconv.ParseFloat(string(n), 64); err != nil || f != v {
			t.Errorf("%s: decoded %v, but readers see %v", path, v, seen)
		}
	default:
		if v != seen {
			t.Errorf("%s: decoded %v, but readers see %v", path, v, seen)
		}
	}
}

// A fuzzed has fields of all kinds whose values can be compared.
type fuzzed struct {
	Text  string             `json:"text"`
	Kind  *string            `json:"kind"`
	Ok    bool               `json:"ok"`
	N     int                `json:"n"`
	Q     int                `json:"q,string"`
	L     string             `json:"l,string"`
	Any   any                `json:"any"`
	Raw   json.RawMessage    `json:"raw"`
	Own   custom             `json:"own"`
	Next  *fuzzed            `json:"next"`
	List  []fuzzed           `json:"list"`
	Pair  [2]Author          `json:"pair"`
	Map   map[string]*fuzzed `json:"map"`
	Ints  map[int]string     `json:"ints"`
	Level map[level]any      `json:"level"`
	Num   json.Number        `json:"num"`
	Author
	*Tags
}

// Tags is embedded as a pointer.
type Tags struct {
	Tags []string `json:"tags"`
}

// suspicious reports whether a value contains anything that could be ambiguous for any
// type: two names that differ at most in case, a lone surrogate, an unusual number.
func suspicious(v any, fields []string) bool {
	switch v := v.(type) {
	case string:
		return !utf8.ValidString(v) || strings.Contains(v, `\u`)
	case []any:
		for _, e := range v {
			if suspicious(e, fields) {
				return true
			}
		}
	case jsObject:
		for i, m := range v {
			if !utf8.ValidString(m.name) || suspicious(m.value, fields) {
				return true
			}
			for _, other := range v[:i] {
				if strings.EqualFold(m.name, other.name) {
					return true
				}
			}
			for _, field := range fields {
				if m.name != field && strings.EqualFold(m.name, field) {
					return true
				}
			}
			if n, err := strconv.ParseInt(m.name, 10, 64); err == nil && strconv.FormatInt(n, 10) != m.name {
				return true
			}
		}
	}
	return false
}

// FuzzUnmarshal checks that if Unmarshal succeeds, its result is that of encoding/json,
// and that of readers that use the first or the last of several names, and that
// Unmarshal rejects only ambiguous texts.
func FuzzUnmarshal(f *testing.F) {
	for _, seed := range []string{
		`{"text":"<script>","TEXT":"hi"}`, `{"\u212aind":"x","kind":"y"}`, `{"text":"a","te\u0078t":"b"}`, `{"any":{"a":1,"\u0061":2}}`,
		`{"next":{"list":[{"text":"a"},{"map":{"x":{"n":1},"y":null}}]},"pair":[{"name":"a"}],"ints":{"1":"a","-2":"b"},"q":"5","l":"\"x\""}`,
		`{"ints":{"1":"a","01":"b"}}`, `{"level":{"LOW":1,"low":2}}`, `{"raw":{"a":1,"a":2},"own":{"a":1,"a":2}}`, `{"text":"\ud83d\ude00\ud83d"}`,
		`{"name":"n","Role":"r","tags":["t"],"num":-1.5e3,"ok":true,"any":[null,{"x":[1,"2"]}]}`, `[{"text":1}]`, ` {"x" : [ { } ] } `, `{"n":-0}`,
	} {
		f.Add(seed)
	}
	var fields []string
	for _, t := range []reflect.Type{reflect.TypeFor[fuzzed](), reflect.TypeFor[Author](), reflect.TypeFor[Tags]()} {
		for field := range t.Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if name == "" {
				name = field.Name
			}
			fields = append(fields, name)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			return // wire rejects it
		}
		var got, want fuzzed
		err, wantErr := strictjson.Unmarshal([]byte(text), &got), json.Unmarshal([]byte(text), &want)
		if !json.Valid([]byte(text)) {
			if err == nil {
				t.Errorf("%q: accepted", text)
			}
			return
		}
		seen := (&reader{text}).value()
		if ambiguous, ok := errors.AsType[*strictjson.AmbiguousError](err); ok {
			if !suspicious(seen, fields) && !strings.Contains(ambiguous.Problem, "same key") {
				t.Errorf("%q: rejected for nothing: %v", text, err)
			}
			return
		}
		if !reflect.DeepEqual(err, wantErr) || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v; encoding/json: %+v, %v", text, got, err, want, wantErr)
		}
		if err != nil {
			return
		}
		agrees(t, "first", reflect.ValueOf(got), seen, jsObject.first)
		agrees(t, "last", reflect.ValueOf(got), seen, jsObject.last)
	})
}
