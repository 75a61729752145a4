package strictjson

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// Types whose fields hide each other in all possible ways.
//
//nolint:staticcheck,unused // odd tags and fields that nobody uses are the point
type (
	Plain struct {
		A, B int
		c    int
		D    int `json:"d"`
		E    int `json:"-"`
		F    int `json:"-,"`
		G    int `json:"a b"`
		H    int `json:"bad\"name"`
		I    int `json:",omitempty,string"`
		J    int `json:"j,strings"`
		L    int `json:"ü"`
	}
	Left  struct{ X, Y int }
	Right struct{ X, Z int }
	Both  struct {
		Left
		Right
	}
	Decided struct {
		Left
		Right
		X int
	}
	TaggedX struct {
		W int `json:"X"`
	}
	OneTag struct {
		Left
		TaggedX
	}
	OtherX struct {
		V int `json:"X"`
	}
	Deep  struct{ Both }
	DeepX struct {
		Both
		TaggedX
	}
	Twice1 struct{ Left }
	Twice2 struct{ Left }
	Twice  struct {
		Twice1
		Twice2
	}
	Thrice struct {
		Twice1
		Twice2
		*Left
	}
	Named struct {
		Left `json:"left"`
	}
	Pointer    struct{ *Left }
	unexported struct{ P, q int }
	Embeds     struct{ unexported }
	EmbedsTag  struct {
		unexported `json:"u"`
	}
	number    int
	Number    int
	NotStruct struct {
		number
		Number
	}
	Stringer  interface{ String() string }
	Interface struct{ Stringer }
	Loop      struct {
		*Loop
		M int
	}
	Even struct {
		*Odd
		N int
	}
	Odd struct {
		*Even
		N, O int
	}
	List       []int
	EmbedsList struct {
		List
		Map map[string]int
	}
	CaseTwins struct {
		A int `json:"name"`
		B int `json:"NAME"`
	}
	Kelvin struct {
		K int `json:"kind"`
		S int `json:"\u017fet"`
	}
	Hidden struct {
		Left `json:"-"`
		Y    int
	}
	Sixty struct {
		A0, A1, A2, A3, A4, A5, A6, A7, A8, A9, B0, B1, B2, B3, B4, B5, B6, B7, B8, B9, C0, C1, C2, C3, C4, C5, C6, C7, C8, C9 int
		D0, D1, D2, D3, D4, D5, D6, D7, D8, D9, E0, E1, E2, E3, E4, E5, E6, E7, E8, E9, F0, F1, F2, F3, F4, F5, F6, F7, F8, F9 int
		G0, G1, G2, G3, G4, G5, G6, G7, G8, G9                                                                                 int
	}
)

// twoTags has two fields with the same tag. Tools would complain if it were declared.
var twoTags = reflect.Zero(reflect.StructOf([]reflect.StructField{
	{Name: "Left", Type: reflect.TypeFor[Left](), Anonymous: true},
	{Name: "TaggedX", Type: reflect.TypeFor[TaggedX](), Anonymous: true},
	{Name: "OtherX", Type: reflect.TypeFor[OtherX](), Anonymous: true},
})).Interface()

var structs = []any{
	Plain{},
	Both{},
	Decided{},
	OneTag{},
	twoTags,
	Deep{},
	DeepX{},
	Twice{},
	Thrice{},
	Named{},
	Pointer{},
	Embeds{},
	EmbedsTag{},
	NotStruct{},
	Interface{},
	Loop{},
	Even{},
	Odd{},
	EmbedsList{},
	CaseTwins{},
	Kelvin{},
	Hidden{},
	Sixty{},
	struct{}{},
	struct {
		Plain
		*Decided
		A string
	}{},
}

// spellings returns names that could mean the same to encoding/json.
func spellings(name string) []string {
	all := []string{name, strings.ToLower(name), strings.ToUpper(name), strings.Title(name)} //nolint:staticcheck // ASCII
	for i, r := range name {
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			all = append(all, name[:i]+string(next)+name[i+len(string(r)):])
		}
	}
	return all
}

// encoding/json uses a name for a field exactly if the plan contains it, ignoring case.
func TestFieldsAreThoseOfEncodingJSON(t *testing.T) {
	names := []string{"", "-", "x", "left", "name", "kind", "set", "\u017fet", "ü", "Ü", "a b", "u", "bad\"name", "\u212aind"}
	for _, s := range structs {
		for _, f := range reflect.VisibleFields(reflect.TypeOf(s)) {
			names = append(names, f.Name)
		}
	}
	var all []string
	for _, name := range names {
		all = append(all, spellings(name)...)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	for _, s := range structs {
		typ := reflect.TypeOf(s)
		p := planFor(typ)
		if p.kind != kindStruct {
			t.Errorf("%v: plan %+v", typ, p)
		}
		exact, folded := 0, 0
		for _, name := range all {
			f := p.fields[name]
			_, fold := p.folded[string(foldName([]byte(name)))]
			if f != nil {
				exact++
				if !fold {
					t.Errorf("%v: %q is not equal to itself but for its case", typ, name)
				}
			} else if fold {
				folded++
			}
			quoted, _ := json.Marshal(name)
			v := reflect.New(typ)
			// A field cannot be three lists, but some become empty.
			err := json.Unmarshal([]byte(`{`+string(quoted)+`:[[[]]]}`), v.Interface())
			if taken := err != nil || !v.Elem().IsZero(); taken != fold {
				t.Errorf("%v: encoding/json takes %q: %t; the plan has it: exactly %t, in any case %t", typ, name, taken, f != nil, fold)
			}
			if f == nil || err != nil && strings.Contains(err.Error(), "unexported") {
				continue
			}
			// And it decodes into the field in the plan.
			if got := fieldByIndex(v.Elem(), f.index); got.IsValid() && got.Kind() == reflect.Int {
				value := `7`
				if name == "I" {
					value = `"7"`
				}
				v = reflect.New(typ)
				if err := json.Unmarshal([]byte(`{`+string(quoted)+`:`+value+`}`), v.Interface()); err != nil {
					t.Errorf("%v: %q: %v", typ, name, err)
				} else if got := fieldByIndex(v.Elem(), f.index); !got.IsValid() || got.Int() != 7 {
					t.Errorf("%v: %q is decoded somewhere else", typ, name)
				}
			}
		}
		if exact != len(p.fields) {
			t.Errorf("%v: %d of %d fields were tried", typ, exact, len(p.fields))
		}
	}
}

// Exactly the characters that encoding/json treats as equal have the same folded form.
func TestFold(t *testing.T) {
	type field struct {
		A int `json:"k"`
		B int `json:"s"`
		C int `json:"σ"`
		D int `json:"ǆ"`
		E int `json:"é"`
		F int `json:"ﬅ"`
		G int `json:"θ"`
	}
	p := planFor(reflect.TypeFor[field]())
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if r >= 0xd800 && r < 0xe000 {
			continue
		}
		_, fold := p.folded[string(foldName([]byte(string(r))))]
		if !fold && r%97 != 0 && r > 0x3000 { // a sample of those without case
			continue
		}
		name, _ := json.Marshal(string(r))
		var v field
		err := json.Unmarshal([]byte(`{`+string(name)+`:true}`), &v)
		if (err != nil) != fold {
			t.Errorf("%q: encoding/json takes it: %t; folded: %t", r, err != nil, fold)
		}
	}
}

// Types that contain themselves have one plan, and a pointer that only points to itself
// has no end.
func TestRecursiveTypes(t *testing.T) {
	type tree struct {
		Name     string `json:"name"`
		Children map[string][]*tree
	}
	p := planFor(reflect.TypeFor[*tree]())
	if p.kind != kindStruct || p.fields["Children"].plan.elem.elem != p {
		t.Errorf("plan %+v", p)
	}
	type lists []lists
	if p := planFor(reflect.TypeFor[lists]()); p.kind != kindList || p.elem != p {
		t.Errorf("plan %+v", p)
	}
	type loop *loop
	if p := planFor(reflect.TypeFor[loop]()); p.kind != kindUnknown {
		t.Errorf("plan %+v", p)
	}
	type dynamic struct {
		Next *dynamic
		Any  any
	}
	if p := planFor(reflect.TypeFor[[]map[string]dynamic]()); p.dynamic || !p.elem.elem.dynamic {
		t.Errorf("plan %+v", p)
	}
}
