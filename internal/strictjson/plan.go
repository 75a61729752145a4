package strictjson

import (
	"encoding"
	"encoding/json"
	"reflect"
	"sync"
)

// A plan describes how encoding/json decodes a type.
type plan struct {
	kind    kind
	dynamic bool // decoding depends on the value: an interface may contain a pointer

	fields map[string]*field // of a struct, by name
	folded map[string]string // names of a struct by their folded form

	elem    *plan // of a list, or of the values of a map
	length  int   // of an array; -1 for a slice
	key     keyKind
	keyType reflect.Type
}

type kind uint8

const (
	kindUnknown kind = iota // not inspected, or not a string, list or object
	kindSkip                // an UnmarshalJSON method decodes it
	kindAny                 // decoded into the type of the JSON value
	kindText                // decoded from a string
	kindQuoted              // decoded from a JSON text in a string
	kindList
	kindStruct
	kindMap
)

// A keyKind is the way in which names become the keys of a map.
type keyKind uint8

const (
	keyString keyKind = iota
	keyInt
	keyUint
	keyMethod // UnmarshalText
)

// A field is a field of a struct that encoding/json uses.
type field struct {
	index []int // in the struct, through embedded ones
	plan  *plan
	bit   uint64 // a bit for each of the first 64 fields, else 0
}

var (
	unknownPlan = &plan{}
	skipPlan    = &plan{kind: kindSkip}
	textPlan    = &plan{kind: kindText}
	quotedPlan  = &plan{kind: kindQuoted}
	anyPlan     = &plan{kind: kindAny}
	ifacePlan   = &plan{kind: kindAny, dynamic: true}
)

var (
	unmarshaler     = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
	rawMessage      = reflect.TypeFor[*json.RawMessage]()
)

var plans sync.Map // of reflect.Type: *plan

// planFor returns the plan of a type.
func planFor(t reflect.Type) *plan {
	if p, ok := plans.Load(t); ok {
		return p.(*plan)
	}
	b := builder{}
	p := b.plan(t)
	for b.spread() {
	}
	// Two goroutines may build the same plan. Both results are correct.
	stored, _ := plans.LoadOrStore(t, p)
	return stored.(*plan)
}

// A builder builds the plans of one type and of all types that it contains. It stores
// incomplete plans, because types may be recursive.
type builder map[reflect.Type]*plan

// plan returns the plan of a type.
func (b builder) plan(t reflect.Type) *plan {
	if t.Kind() != reflect.Pointer && t.Name() != "" {
		if p := methodPlan(reflect.PointerTo(t)); p != nil {
			return p
		}
	}
	return b.follow(t, true)
}

// follow is plan for a type that is a pointer, or has no relevant methods.
func (b builder) follow(t reflect.Type, methods bool) *plan {
	for depth := 0; t.Kind() == reflect.Pointer; depth++ {
		const limit = 100 // a pointer type may point to itself
		if depth == limit {
			return unknownPlan
		}
		if p := methodPlan(t); p != nil && methods {
			return p
		}
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Interface:
		return ifacePlan
	case reflect.String:
		return textPlan
	case reflect.Slice, reflect.Array, reflect.Struct, reflect.Map:
	default:
		return unknownPlan
	}
	if p := b[t]; p != nil {
		return p
	}
	p := &plan{}
	b[t] = p
	switch t.Kind() {
	case reflect.Slice:
		p.kind, p.length, p.elem = kindList, -1, b.plan(t.Elem())
	case reflect.Array:
		p.kind, p.length, p.elem = kindList, t.Len(), b.plan(t.Elem())
	case reflect.Map:
		b.planMap(p, t)
	default:
		b.planStruct(p, t)
	}
	return p
}

// methodPlan returns the plan of a pointer type if a method decodes its element, and
// nil otherwise.
func methodPlan(pointer reflect.Type) *plan {
	switch {
	case pointer == rawMessage:
		return unknownPlan
	case pointer.Implements(unmarshaler):
		return skipPlan
	case pointer.Implements(textUnmarshaler):
		return textPlan
	}
	return nil
}

func (b builder) planMap(p *plan, t reflect.Type) {
	p.kind, p.elem, p.keyType = kindMap, b.plan(t.Elem()), t.Key()
	switch k := t.Key().Kind(); {
	case reflect.PointerTo(t.Key()).Implements(textUnmarshaler):
		p.key = keyMethod
	case k == reflect.String:
		p.key = keyString
	case reflect.Int <= k && k <= reflect.Int64:
		p.key = keyInt
	case reflect.Uint <= k && k <= reflect.Uintptr:
		p.key = keyUint
	default:
		p.kind = kindUnknown // encoding/json rejects such a map
	}
}

func (b builder) planStruct(p *plan, t reflect.Type) {
	p.kind, p.fields, p.folded = kindStruct, map[string]*field{}, map[string]string{}
	for name, found := range structFields(t) {
		f := &field{index: found.index, plan: unknownPlan}
		if n := len(p.fields); n < 64 {
			f.bit = 1 << n
		}
		switch {
		case found.quoted && found.elem.Kind() == reflect.String:
			f.plan = quotedPlan
		case found.quoted:
		case !found.exported: // encoding/json cannot call methods of such a field
			f.plan = b.follow(found.typ, false)
		default:
			f.plan = b.plan(found.typ)
		}
		p.fields[name] = f
		p.folded[string(foldName([]byte(name)))] = name
	}
}

// spread marks the plans that are dynamic because of a part of them, and reports
// whether it found one. The values of maps are always decoded into new memory.
func (b builder) spread() (found bool) {
	for _, p := range b {
		if p.dynamic {
			continue
		}
		if p.kind == kindList {
			p.dynamic = p.elem.dynamic
		}
		for _, f := range p.fields {
			p.dynamic = p.dynamic || f.plan.dynamic
		}
		found = found || p.dynamic
	}
	return found
}
