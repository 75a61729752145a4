// Package strictjson decodes JSON texts that other programs also read. It rejects texts
// that encoding/json and another reader could decode to different values:
//
//   - An object with two members of the same name. Some readers take the first, and
//     some the last.
//   - A name that matches that of a field only if case is ignored, as encoding/json
//     does: for JavaScript, and for a map, it is another name. Case means Unicode
//     simple folding, so "\u212aind" (with a Kelvin sign) is "kind".
//   - A string with a lone surrogate, where the string is decoded. In Go it becomes
//     U+FFFD, like every other one.
//   - Two names of a map that become the same key, such as "7" and "07" for a map
//     with integers as keys.
//
// This applies at every depth, even to values that are not decoded, such as those of
// unknown members. It does not apply to texts that a type decodes with its own
// UnmarshalJSON method. For a [json.RawMessage], which decodes nothing, names must
// still be unique.
//
// So if Unmarshal succeeds, every reader decodes the text to the values that Unmarshal
// stored. Numbers are the exception: JavaScript has no integers above 2^53.
package strictjson

import (
	"encoding/json"
	"reflect"
)

// An AmbiguousError means that readers can understand a text differently.
type AmbiguousError struct {
	Problem string // may be sent to the author of the text
}

// Error returns the problem.
func (e *AmbiguousError) Error() string { return "strictjson: " + e.Problem }

// Unmarshal is like [json.Unmarshal], but returns an [*AmbiguousError], and does not
// change v, if the text is ambiguous.
func Unmarshal(data []byte, v any) error {
	if target := reflect.ValueOf(v); target.Kind() == reflect.Pointer && !target.IsNil() {
		w := walker{data: data}
		w.value(planFor(target.Type()), target)
		if w.err != nil {
			return w.err
		}
	}
	return json.Unmarshal(data, v) // which also rejects texts that the walk could not read
}
