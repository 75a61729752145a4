package strictjson

import (
	"reflect"
	"strings"
	"unicode"
)

// A found is a field of a struct with a name in JSON.
type found struct {
	index    []int
	typ      reflect.Type
	elem     reflect.Type // typ, or the type that it points to
	tagged   bool         // its name comes from a tag
	quoted   bool         // the option "string"
	exported bool
}

// An embedding is a struct whose fields count as fields of the one that embeds it.
type embedding struct {
	typ   reflect.Type
	index []int
	times int // number of occurrences at this depth
}

// structFields returns the fields that encoding/json uses for a struct, by name. It
// searches depth by depth: a name hides the same name at greater depths, fields with a
// tag hide those without at the same depth, and if several remain, none is used.
func structFields(t reflect.Type) map[string]found {
	fields := map[string]found{}
	hidden := map[string]bool{} // names that several fields have
	visited := map[reflect.Type]bool{}
	for level := []embedding{{typ: t, times: 1}}; len(level) > 0; {
		var next []embedding
		candidates := map[string][]found{}
		for _, e := range level {
			if visited[e.typ] {
				continue
			}
			visited[e.typ] = true
			for i := range e.typ.NumField() {
				name, f, ok := readField(e, i)
				switch {
				case !ok:
				case name == "":
					next = embed(next, f)
				default:
					for range min(e.times, 2) {
						candidates[name] = append(candidates[name], f)
					}
				}
			}
		}
		for name, several := range candidates {
			if _, above := fields[name]; above || hidden[name] {
				continue
			}
			if f, ok := dominant(several); ok {
				fields[name] = f
			} else {
				hidden[name] = true
			}
		}
		level = next
	}
	return fields
}

// readField returns one field of an embedded struct, and its name. The name is empty
// if the field is a struct that is embedded itself.
func readField(e embedding, i int) (name string, f found, ok bool) {
	sf := e.typ.Field(i)
	f = found{
		index: append(append([]int(nil), e.index...), i), typ: sf.Type, elem: sf.Type, exported: sf.IsExported(),
	}
	// A named pointer type is not followed, as encoding/json does not either.
	if sf.Type.Name() == "" && sf.Type.Kind() == reflect.Pointer {
		f.elem = sf.Type.Elem()
	}
	if !f.exported && (!sf.Anonymous || structOf(sf.Type) == nil) {
		return "", f, false
	}
	tag := sf.Tag.Get("json")
	if tag == "-" {
		return "", f, false
	}
	name, options, _ := strings.Cut(tag, ",")
	if !validName(name) {
		name = ""
	}
	f.tagged = name != ""
	f.quoted = hasOption(options, "string") && quotable(f.elem.Kind())
	if name == "" && (!sf.Anonymous || f.elem.Kind() != reflect.Struct) {
		name = sf.Name
	}
	return name, f, true
}

// structOf returns t or the type that it points to, if that is a struct.
func structOf(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	return t
}

// embed adds the fields of a struct to those of the next depth.
func embed(next []embedding, f found) []embedding {
	for i := range next {
		if next[i].typ == f.elem {
			next[i].times++
			return next
		}
	}
	return append(next, embedding{f.elem, f.index, 1})
}

// dominant returns the field that hides the others of the same name and depth.
func dominant(several []found) (found, bool) {
	var tagged []found
	for _, f := range several {
		if f.tagged {
			tagged = append(tagged, f)
		}
	}
	if len(tagged) > 0 {
		several = tagged
	}
	return several[0], len(several) == 1
}

func hasOption(options, want string) bool {
	for option := range strings.SplitSeq(options, ",") {
		if option == want {
			return true
		}
	}
	return false
}

// quotable reports whether the option "string" has an effect.
func quotable(k reflect.Kind) bool {
	return reflect.Bool <= k && k <= reflect.Float64 || k == reflect.String
}

// validName reports whether encoding/json accepts a name in a tag.
func validName(name string) bool {
	for _, r := range name {
		if !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", r) && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return false
		}
	}
	return name != ""
}
