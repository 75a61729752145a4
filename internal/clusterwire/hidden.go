package clusterwire

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
)

// hiddenKey is the assign for a [Hidden].
const hiddenKey = "__pond__"

// Hidden is the data of a user that has no field in version 1 of the protocol. Nodes of pond
// send it as an assign, and do not show that assign.
type Hidden struct {
	Identity string `json:"identity,omitempty"`
	Tracked  bool   `json:"tracked,omitempty"` // with an empty object as presence
}

// EncodeAssigns returns assigns with hidden data as a JSON object.
func EncodeAssigns(assigns map[string]json.RawMessage, hidden Hidden) []byte {
	if hidden != (Hidden{}) {
		assigns = maps.Clone(assigns)
		if assigns == nil {
			assigns = map[string]json.RawMessage{}
		}
		assigns[hiddenKey], _ = json.Marshal(hidden) // never fails
	}
	dst := []byte{'{'}
	for _, key := range slices.Sorted(maps.Keys(assigns)) {
		if len(dst) > 1 {
			dst = append(dst, ',')
		}
		dst = append(append(appendString(dst, key), ':'), assigns[key]...)
	}
	return append(dst, '}')
}

// TakeHidden removes the hidden data from assigns, and returns it. The values of the assigns
// become copies, so that the message that they are a part of is not kept.
func TakeHidden(assigns map[string]json.RawMessage) (hidden Hidden) {
	if raw, ok := assigns[hiddenKey]; ok {
		delete(assigns, hiddenKey)
		_ = json.Unmarshal(raw, &hidden) // the zero value, if a node is broken
	}
	for key, value := range assigns {
		assigns[key] = bytes.Clone(value)
	}
	return hidden
}
