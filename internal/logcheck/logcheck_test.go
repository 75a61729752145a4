package logcheck_test

import (
	"strings"
	"testing"

	"github.com/pondsocket/pond/internal/logcheck"
)

func at(epoch string, offset uint64) logcheck.Position {
	return logcheck.Position{Epoch: epoch, Offset: offset}
}

// newLog returns a log with the messages 101 to 105 at the offsets 1 to 5 of "a", and 106
// at offset 1 of "b".
func newLog(t *testing.T) *logcheck.Log {
	t.Helper()
	l := &logcheck.Log{}
	for i := range 5 {
		if err := l.Add(at("a", uint64(i+1)), 101+i); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Add(at("b", 1), 106); err != nil {
		t.Fatal(err)
	}
	return l
}

func expect(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil && want != "" || err != nil && (want == "" || !strings.Contains(err.Error(), want)) {
		t.Errorf("error %v, want %q", err, want)
	}
}

func TestLog(t *testing.T) {
	l := newLog(t)
	expect(t, l.Add(at("a", 2), 102), "")
	expect(t, l.Add(at("a", 2), 107), "the messages 102 and 107")
	expect(t, l.Add(at("a", 6), 102), "message 102 at 6")
	expect(t, l.Add(at("b", 2), 102), "") // stored again after a loss
	if !l.Has(106) || l.Has(107) || len(l.Epochs()) != 2 {
		t.Errorf("epochs %q, 106: %t, 107: %t", l.Epochs(), l.Has(106), l.Has(107))
	}
}

func TestReader(t *testing.T) {
	l := newLog(t)
	r := &logcheck.Reader{Log: l, At: at("a", 1)}
	expect(t, r.Message(at("a", 2), 102), "")
	expect(t, r.Message(at("a", 2), 102), "again")
	expect(t, r.Message(at("a", 1), 101), "again")
	expect(t, r.Message(at("a", 3), 104), "the log has 103")
	expect(t, r.Message(at("a", 4), 104), "did not receive message 103")
	expect(t, r.Reach(at("a", 4)), "did not receive message")
	expect(t, r.Message(at("b", 1), 106), "without a gap")
	expect(t, r.Reach(at("b", 1)), "without a gap")
	r.Gap(at("b", 0))
	expect(t, r.Message(at("b", 1), 106), "")

	r = &logcheck.Reader{Log: l, At: at("a", 1), Hidden: func(n int) bool { return n == 103 || n == 105 }}
	expect(t, r.Message(at("a", 2), 102), "")
	expect(t, r.Message(at("a", 4), 104), "")
	expect(t, r.Reach(at("a", 5)), "")
	if r.At != at("a", 5) {
		t.Errorf("at %v", r.At)
	}
}
