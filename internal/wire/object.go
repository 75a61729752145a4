package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"runtime"
	"strings"
)

// nestingLimit is the maximum nesting of values of the application. It is the limit of
// encoding/json.
const nestingLimit = 10000

// Object returns v as a payload: a compact JSON object. For nil and for values that
// encode to null, such as a nil map, it is the empty object. A [json.RawMessage] is
// checked and compacted; all other values are encoded by encoding/json, without escapes
// for HTML. Object returns an error if the result is not an object, and a [*PanicError]
// if a method of v panics.
//
// The result does not share memory with v and must not be modified.
func Object(v any) ([]byte, error) { return objectOf(v, false) }

// View is [Object] for payloads that the caller copies: the result may be a part of v.
func View(v any) ([]byte, error) { return objectOf(v, true) }

func objectOf(v any, share bool) ([]byte, error) {
	value, err := encode(v, share)
	switch {
	case err != nil:
		return nil, err
	case isNull(value):
		return emptyObject, nil
	case !isObject(value):
		return nil, notObjectError(value)
	}
	return value, nil
}

// Value is like [Object], but the result may be any JSON value.
func Value(v any) ([]byte, error) { return encode(v, false) }

func encode(v any, share bool) ([]byte, error) {
	if raw, ok := v.(json.RawMessage); ok && raw != nil {
		value, spaces, err := scanValue(raw)
		if err != nil || share && spaces == 0 {
			return value, err
		}
		return compact(value, spaces), nil
	}
	encoded, err := marshal(v)
	if err != nil {
		return nil, err
	}
	// encoding/json compacts the result of a MarshalJSON method, but does not check its
	// UTF-8, which a WebSocket requires.
	value, _, err := scanValue(encoded)
	return value, err
}

// marshal encodes v with encoding/json, which calls methods of v.
func marshal(v any) (encoded []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{Value: p, Site: panicSite()}
		}
	}()
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// A PanicError means that a value could not be encoded because one of its methods
// panicked.
type PanicError struct {
	Value any    // the value of the panic
	Site  string // the function, file and line of the panic
}

// maxPanicText limits the bytes of the value in the text of a [PanicError]. The value
// may contain data of a client, and a client may cause many such errors.
const maxPanicText = 1 << 10

// Error returns the value and the site, but no stack.
func (e *PanicError) Error() string {
	text := fmt.Sprint(e.Value)
	if len(text) > maxPanicText {
		text = text[:maxPanicText] + "..."
	}
	return "wire: encoding a value panicked: " + text + " in " + e.Site
}

// panicSite returns the place of the panic. The deferred function that recovered must
// call it. In the stack, the last call of the runtime's panic is the first one in time,
// because encoding/json recovers and panics again.
func panicSite() (site string) {
	var pcs [100]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(0, pcs[:])])
	panicking := false
	for more := true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		switch {
		case f.Function == "runtime.gopanic":
			panicking = true
		case panicking && !strings.HasPrefix(f.Function, "runtime."):
			site = fmt.Sprintf("%s (%s:%d)", f.Function, path.Base(f.File), f.Line)
			panicking = false
		}
	}
	return site
}

// scanValue returns the only value in raw without white space around it, and the
// number of white space characters between its tokens.
func scanValue(raw []byte) (value []byte, spaces int, err error) {
	s := scanner{data: raw, maxDepth: nestingLimit}
	s.space()
	start, before := s.pos, s.spaces
	ok := s.value(nil)
	end, spaces := s.pos, s.spaces-before
	if !ok || !s.done() {
		return nil, 0, errors.New("wire: " + s.problem())
	}
	return raw[start:end:end], spaces, nil
}

func notObjectError(value []byte) error {
	return fmt.Errorf("wire: a payload must be a JSON object, not %s", kindOf(value))
}

// compact returns a copy of a valid value without the white space outside its
// strings, which has spaces characters.
func compact(value []byte, spaces int) []byte {
	size := len(value) - spaces
	if size == len(emptyObject) && isObject(value) {
		return emptyObject
	}
	dst := make([]byte, size)
	if spaces == 0 {
		copy(dst, value)
		return dst
	}
	n := 0
	inString, escaped := false, false
	for _, c := range value {
		if !inString && isSpace(c) {
			continue
		}
		dst[n] = c
		n++
		if c == '"' && !escaped {
			inString = !inString
		}
		escaped = c == '\\' && !escaped
	}
	return dst
}
