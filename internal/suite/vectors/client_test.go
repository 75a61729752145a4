package vectors_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/pondsocket/pond/internal/suite/kit"
)

func runClientAccepts(t *testing.T, _ string, each eachVector) {
	each(func(v vector) {
		want := kit.Decode[struct {
			Accepted bool
			Error    string
		}](t, v.Expected)
		text := ""
		err := kit.AcceptFrame(kit.Decode[map[string]any](t, v.Input))
		if err != nil {
			text = err.Error()
		}
		if (err == nil) != want.Accepted || text != want.Error {
			t.Errorf("%s: %q, want %q", v.Name, text, want.Error)
		}
	})
}

// officialSSEClient returns the messages that the official client gets from a
// stream. It listens to unnamed events and to events named message, and parses each
// line of their data.
func officialSSEClient(stream string) (messages []string, err error) {
	for _, e := range kit.ParseEventStream(stream) {
		if e.Name != "" && e.Name != "message" {
			return messages, fmt.Errorf("the client does not listen to %s", e.Name)
		}
		for line := range strings.SplitSeq(e.Data, "\n") {
			var frame map[string]any
			if err := json.Unmarshal([]byte(line), &frame); err != nil {
				return messages, err
			}
			if err := kit.AcceptFrame(frame); err != nil {
				return messages, err
			}
			messages = append(messages, line)
		}
	}
	return messages, nil
}
