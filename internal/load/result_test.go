package load

import "testing"

func TestResultErr(t *testing.T) {
	for name, tt := range map[string]struct {
		result Result
		want   string
	}{
		"nothing":     {Result{Faults: Faults{Expected: 9, StalledClosed: 1}}, ""},
		"lost":        {Result{Faults: Faults{Lost: 2}}, "2 lost"},
		"all":         {Result{Faults: Faults{9, 1, 2, 3, 4, 5, 6, 7, 8, 0, "why"}}, "1 lost, 2 duplicated, 3 reordered, 4 misdelivered, 5 unrecovered, 6 rejected, 7 closed, 8 failed: why"},
		"forgiven":    {Result{Faults: Faults{Lost: 1, Reordered: 1}, Forgiven: []string{"lost", "reordered"}}, ""},
		"partly":      {Result{Faults: Faults{Lost: 1, Duplicated: 1}, Forgiven: []string{"lost"}}, "1 duplicated"},
		"all there":   {Result{Scenario: Presence, Clients: 3, PresenceComplete: 3}, ""},
		"one missing": {Result{Scenario: Presence, Clients: 3, PresenceComplete: 2}, `1 incomplete lists (the server must track each member with the "track" of its join)`},
	} {
		got := ""
		if err := tt.result.Err(); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}
