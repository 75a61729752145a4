package redisbroker

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/pondsocket/pond"
)

// FuzzPosition checks that a message arrives as it was sent, with and without a
// position, and that other servers can read it.
func FuzzPosition(f *testing.F) {
	for _, data := range []string{
		`{}`, `{"a":1}`, `{"a":"}"}`, `{"pos":"k3.1.0"}`, `{"a":1,"pos":"k3.1.0"}`, `{"a":1,"pos":""}`, `{"pos":""}`,
		`{"a":1,"pos":"","pos":"k3.1.0"}`, `{"a":{"pos":"k3.1.0"}}`, `{"a":"\",\"pos\":\"k3.1.0"}`, `{"xpos":"k3.1.0"}`,
		`{"a":1,"pos":"` + strings.Repeat("k", 100) + `"}`, `{"a":1 ,"pos":"k3.1.0"}`, `{"a":["pos","k3.1.0"]}`,
	} {
		f.Add([]byte(data), "k3", uint64(17))
	}
	f.Fuzz(func(t *testing.T, data []byte, epoch string, offset uint64) {
		if len(data) < 2 || data[0] != '{' || data[len(data)-1] != '}' || !json.Valid(data) {
			return
		}
		sent := bytes.Clone(escape(data))
		if !json.Valid(sent) {
			t.Fatalf("%s is sent as %s", data, sent)
		}
		if got, pos, prev := unescape(sent); !bytes.Equal(got, data) || pos != (pond.Position{}) || prev != 0 {
			t.Errorf("%s arrives as %s with position %v and %d before it", data, got, pos, prev)
		}
		offset = offset%(1<<53) + 1
		if epoch == "" || len(epoch) > 22 || strings.ContainsFunc(epoch, func(r rune) bool {
			return !strings.ContainsRune("ABCXYZabcxyz0123456789-_", r)
		}) {
			return
		}
		sent = splice(data, epoch+"."+strconv.FormatUint(offset, 10)+"."+strconv.FormatUint(offset-1, 10))
		if !json.Valid(sent) {
			t.Fatalf("%s is stored as %s", data, sent)
		}
		got, pos, prev := unescape(sent)
		if !bytes.Equal(got, data) || pos != (pond.Position{Epoch: epoch, Offset: offset}) || prev != offset-1 {
			t.Errorf("%s arrives as %s with position %v and %d before it", data, got, pos, prev)
		}
	})
}
