package natsbroker

import (
	"strings"
	"testing"
)

func TestToken(t *testing.T) {
	for text, want := range map[string]string{
		"":                   "=",
		"abc-XYZ_019":        "abc-XYZ_019",
		"_a_":                "=5Fa_",
		"a.b":                "a=2Eb",
		"*":                  "=2A",
		">":                  "=3E",
		"=":                  "=3D",
		"~":                  "=7E",
		"api/socket:/chat/1": "api=2Fsocket=3A=2Fchat=2F1",
		"é 日":                "=C3=A9=20=E6=97=A5",
		"\x00\r\n":           "=00=0D=0A",
	} {
		if got := token(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// FuzzToken checks that tokens are valid, and that different texts have different
// tokens.
func FuzzToken(f *testing.F) {
	f.Add("a", "b")
	f.Add("=5F", "_")
	f.Add(strings.Repeat("x", 180), strings.Repeat("x", 181))
	f.Add(strings.Repeat("/", 60), strings.Repeat("/", 61))
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, text := range []string{a, b} {
			got := token(text)
			if got == "" || len(got) > longestToken || strings.ContainsAny(got, " .*>\t\r\n\x00") || got[0] == '_' || got[0] == '$' {
				t.Errorf("%q: %q is no token", text, got)
			}
		}
		if (token(a) == token(b)) != (a == b) {
			t.Errorf("%q and %q: %q and %q", a, b, token(a), token(b))
		}
	})
}
