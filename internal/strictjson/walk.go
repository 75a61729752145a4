package strictjson

import (
	"bytes"
	"encoding"
	"fmt"
	"reflect"
	"strconv"
)

// A walker reads a text together with the type that it is decoded into. It does not
// check the syntax: encoding/json does this afterwards. If the text is incomplete or
// invalid, the walker stops or continues, but never reads beyond the text.
type walker struct {
	data  []byte
	pos   int
	depth int
	err   error // the first ambiguity
}

// maxDepth limits the recursion. encoding/json rejects deeper nesting.
const maxDepth = 10000

// fail reports an ambiguity and ends the walk.
func (w *walker) fail(format string, args ...any) {
	if w.err == nil {
		w.err = &AmbiguousError{Problem: fmt.Sprintf(format, args...)}
	}
	w.pos = len(w.data)
}

// peek returns the next byte after white space, or 0 at the end.
func (w *walker) peek() byte {
	for w.pos < len(w.data) {
		switch c := w.data[w.pos]; c {
		case ' ', '\t', '\r', '\n':
			w.pos++
		default:
			return c
		}
	}
	return 0
}

// take consumes the next byte if it is c.
func (w *walker) take(c byte) bool {
	if w.peek() != c {
		return false
	}
	w.pos++
	return true
}

// value reads one value. v is the destination, if it exists and matters: an interface
// in it may contain a pointer, which encoding/json follows.
func (w *walker) value(p *plan, v reflect.Value) {
	if p.dynamic {
		p, v = resolve(p, v)
	}
	if w.depth++; w.depth > maxDepth {
		w.pos = len(w.data)
	}
	switch w.peek() {
	case '{':
		w.object(p, v)
	case '[':
		w.array(p, v)
	case '"':
		raw := w.text()
		switch {
		case p.kind == kindText || p.kind == kindAny:
			w.checkText(raw)
		case p.kind == kindQuoted && w.err == nil:
			w.checkText(unquote(raw)) // a JSON text in a string
		}
	default:
		w.scalar()
	}
	w.depth--
}

// scalar skips a number, true, false or null.
func (w *walker) scalar() {
	for w.pos < len(w.data) {
		switch w.data[w.pos] {
		case ',', ']', '}', ' ', '\t', '\r', '\n':
			return
		}
		w.pos++
	}
}

// text reads a string and returns it with its quotes, or nil if it has no end.
func (w *walker) text() []byte {
	start := w.pos
	end := start // of the part without a quote
	for w.pos++; ; {
		if w.pos > end {
			n := bytes.IndexByte(w.data[min(w.pos, len(w.data)):], '"')
			if n < 0 {
				w.pos = len(w.data)
				return nil
			}
			end = w.pos + n
		}
		n := bytes.IndexByte(w.data[w.pos:end], '\\')
		if n < 0 {
			w.pos = end + 1
			return w.data[start:w.pos]
		}
		w.pos += n + len(`\"`)
	}
}

func (w *walker) checkText(raw []byte) {
	if hasLoneSurrogate(raw) {
		w.fail("a string has a lone surrogate")
	}
}

func (w *walker) array(p *plan, v reflect.Value) {
	w.pos++ // the bracket
	elem := unknownPlan
	switch p.kind {
	case kindList:
		elem = p.elem
	case kindAny, kindSkip:
		elem = p
	}
	if w.take(']') {
		return
	}
	for i := 0; w.pos < len(w.data); i++ {
		var element reflect.Value
		if elem.dynamic && v.IsValid() {
			element = elementAt(v, i)
		}
		if p.kind == kindList && p.length >= 0 && i >= p.length {
			elem = unknownPlan // encoding/json skips elements that do not fit into an array
		}
		w.value(elem, element)
		if !w.take(',') {
			w.take(']')
			return
		}
	}
}

func (w *walker) object(p *plan, v reflect.Value) {
	w.pos++ // the brace
	if w.take('}') {
		return
	}
	var names nameSet
	var known uint64 // the fields that had a value
	var keys map[any]struct{}
	for w.pos < len(w.data) {
		if w.peek() != '"' {
			return
		}
		raw := w.text()
		if raw == nil || !w.take(':') {
			return
		}
		member, memberValue := unknownPlan, reflect.Value{}
		switch p.kind {
		case kindSkip:
			member = p
		case kindStruct:
			name := w.name(raw)
			if f := p.fields[string(name)]; f != nil {
				member = f.plan
				if member.dynamic && v.IsValid() {
					memberValue = fieldByIndex(v, f.index)
				}
				if f.bit != 0 {
					if known&f.bit != 0 {
						w.twice(name)
					}
					known |= f.bit
					break // its name is not in names
				}
			} else if other, ok := p.folded[string(foldName(name))]; ok {
				w.fail("the name %s differs from %s only in case", quote(name), quote([]byte(other)))
			}
			w.add(&names, name)
		case kindMap:
			name := w.name(raw)
			member = p.elem
			w.add(&names, name)
			keys = w.key(p, name, keys)
		case kindAny:
			member = p
			w.add(&names, w.name(raw))
		default:
			w.add(&names, w.name(raw))
		}
		w.value(member, memberValue)
		if !w.take(',') {
			w.take('}')
			return
		}
	}
}

// name returns the name that raw encodes.
func (w *walker) name(raw []byte) []byte {
	if hasLoneSurrogate(raw) {
		w.fail("a name has a lone surrogate")
	}
	return unquote(raw)
}

func (w *walker) add(names *nameSet, name []byte) {
	if w.err == nil && !names.add(name) {
		w.twice(name)
	}
}

func (w *walker) twice(name []byte) { w.fail("the name %s occurs twice", quote(name)) }

// key checks that no other name becomes the same key of a map. keys contains the keys
// of a type with its own method.
func (w *walker) key(p *plan, name []byte, keys map[any]struct{}) map[any]struct{} {
	if w.err != nil {
		return keys
	}
	switch p.key {
	case keyInt:
		if n, err := strconv.ParseInt(string(name), 10, 64); err == nil && strconv.FormatInt(n, 10) != string(name) {
			w.fail("the name %s is not the usual form of a number", quote(name))
		}
	case keyUint:
		if n, err := strconv.ParseUint(string(name), 10, 64); err == nil && strconv.FormatUint(n, 10) != string(name) {
			w.fail("the name %s is not the usual form of a number", quote(name))
		}
	case keyMethod:
		key := reflect.New(p.keyType)
		u, ok := reflect.TypeAssert[encoding.TextUnmarshaler](key)
		if !ok || u.UnmarshalText(name) != nil {
			return keys // encoding/json has the same error
		}
		value := key.Elem().Interface()
		if _, exists := keys[value]; exists {
			w.fail("the name %s becomes the same key as another name", quote(name))
		}
		if keys == nil {
			keys = map[any]struct{}{}
		}
		keys[value] = struct{}{}
	}
	return keys
}

// resolve follows pointers and interfaces to the value into which encoding/json
// decodes. It returns the zero Value if there is none yet.
func resolve(p *plan, v reflect.Value) (*plan, reflect.Value) {
	const limit = 100 // a pointer may point to itself
	for range limit {
		switch {
		case !v.IsValid():
			return p, v
		case v.Kind() == reflect.Interface:
			e := v.Elem()
			if e.Kind() != reflect.Pointer || e.IsNil() {
				return p, reflect.Value{}
			}
			p, v = planFor(e.Type()), e
		case v.Kind() == reflect.Pointer:
			v = v.Elem() // no value for nil
		default:
			return p, v
		}
	}
	return anyPlan, reflect.Value{}
}

// elementAt returns an element of a slice or an array, or the zero Value if there is
// none yet. encoding/json also uses elements between the length and the capacity.
func elementAt(v reflect.Value, i int) reflect.Value {
	switch v.Kind() {
	case reflect.Slice:
		if i < v.Cap() {
			return v.Slice(0, v.Cap()).Index(i)
		}
	case reflect.Array:
		if i < v.Len() {
			return v.Index(i)
		}
	}
	return reflect.Value{}
}

// fieldByIndex returns a field of v, or the zero Value if a pointer to it is nil.
func fieldByIndex(v reflect.Value, index []int) reflect.Value {
	for _, i := range index {
		if v.Kind() == reflect.Pointer {
			v = v.Elem()
		}
		if !v.IsValid() {
			return v
		}
		v = v.Field(i)
	}
	return v
}
