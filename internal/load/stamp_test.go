package load

import (
	"strings"
	"testing"
	"time"
)

func TestStampRoundTrip(t *testing.T) {
	for _, s := range []stamp{
		{published, 0, 0, 0, 0},
		{echoed, 1, 2, 3, 4},
		{published, maxClients - 1, 1<<30 - 1, 1<<48 - 1, 1<<18 - 1},
		{published, 63, 64, int64(24 * time.Hour), 65},
	} {
		body := s.append(nil)
		if len(body) != stampSize {
			t.Errorf("%+v takes %d bytes, want %d", s, len(body), stampSize)
		}
		if strings.ContainsAny(string(body), "\"\\%+<>& ") {
			t.Errorf("%q needs escaping", body)
		}
		for _, text := range []string{string(body), `{"b":"` + string(body) + `xxxx"}`} {
			if got, ok := parseStamp([]byte(text)); !ok || got != s {
				t.Errorf("%s: %+v, %v, want %+v", text, got, ok, s)
			}
		}
	}
}

func TestInvalidStamps(t *testing.T) {
	good := string(stamp{published, 1, 2, 3, 4}.append(nil))
	for _, text := range []string{"", "~~", good[:stampSize-1], good[1:], good[:10] + "\xff" + good[11:], good[:10] + "~" + good[11:]} {
		if got, ok := parseStamp([]byte(text)); ok {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func TestAppendDeliveriesFindsAll(t *testing.T) {
	a, b := stamp{published, 1, 1, 1, 1}, stamp{echoed, 2, 2, 2, 1}
	message := append(a.append([]byte(`[{"x":"`)), `yyy"},{"x":"`...)
	message = append(b.append(message), `"}]~~cut`...)
	events := AppendDeliveries([]Event{{Kind: Joined}}, message)
	if len(events) != 3 || events[0].Kind != Joined {
		t.Fatalf("%d events", len(events))
	}
	for i, want := range []stamp{a, b} {
		if got, ok := parseStamp(events[i+1].Text); events[i+1].Kind != Delivery || !ok || got != want {
			t.Errorf("event %d: %+v, want %+v", i+1, got, want)
		}
	}
}

func TestCensus(t *testing.T) {
	list := func(numbers ...int) []byte {
		var b strings.Builder
		for _, n := range numbers {
			b.WriteString(`{"name":"` + PresenceMark(n) + `"},`)
		}
		return []byte(b.String())
	}
	all := takeCensus(list(0, 1, 2, 70_000))
	for name, tt := range map[string]struct {
		list  []byte
		equal bool
	}{
		"another order":      {list(70_000, 2, 0, 1), true},
		"one less":           {list(0, 1, 2), false},
		"one more":           {list(0, 1, 2, 3, 70_000), false},
		"one twice":          {list(0, 1, 2, 2, 70_000), false},
		"one for another":    {list(0, 1, 3, 70_000), false},
		"as many, all wrong": {list(4, 5, 6, 7), false},
		"cut":                {list(0, 1, 2, 70_000)[:len(list(0, 1, 2, 70_000))-5], false},
	} {
		if got := takeCensus(tt.list); (got == all) != tt.equal {
			t.Errorf("%s: %+v, and all are %+v", name, got, all)
		}
	}
	if got := takeCensus(list(0, 1)).plus(takeCensus(list(2, 70_000, 9))).minus(takeCensus(list(9))); got != all {
		t.Errorf("who comes and goes: %+v, want %+v", got, all)
	}
}
