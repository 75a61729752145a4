package wire

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// A vector is one entry of testdata/vectors-client.json.
type vector struct {
	Name     string
	Input    json.RawMessage
	Expected json.RawMessage
}

// text returns the text of a vector of the groups inbound and inbound-error.
func (v vector) text(t *testing.T) []byte {
	t.Helper()
	return []byte(unmarshal[struct{ Text string }](t, v.Input).Text)
}

// runVectors runs test with each vector of a group, of which there must be want.
func runVectors(t *testing.T, group string, want int, test func(t *testing.T, name string, v vector)) {
	t.Helper()
	data, err := os.ReadFile("../suite/vectors/testdata/vectors-client.json")
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, v := range unmarshal[[]vector](t, data) {
		if name, ok := strings.CutPrefix(v.Name, group+"/"); ok {
			t.Run(name, func(t *testing.T) { test(t, name, v) })
			ran++
		}
	}
	if ran != want {
		t.Errorf("ran %d vectors of %s, want %d", ran, group, want)
	}
}

func unmarshal[T any](t testing.TB, data []byte) (v T) {
	t.Helper()
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	return v
}
