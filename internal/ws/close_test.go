package ws_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/pondsocket/pond/internal/ws"
)

// The close-code/* vectors of testdata/vectors-client.json.
func TestCloseCodeVectors(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../suite/vectors/testdata/vectors-client.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		Name            string
		Input, Expected json.RawMessage
	}
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, v := range vectors {
		if !strings.HasPrefix(v.Name, "close-code/") {
			continue
		}
		ran++
		var input struct{ Code int }
		var expected struct{ Python int }
		if err := json.Unmarshal(v.Input, &input); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(v.Expected, &expected); err != nil {
			t.Fatal(err)
		}
		if got := ws.CloseCode(input.Code); got != expected.Python {
			t.Errorf("%s: got %d, want %d", v.Name, got, expected.Python)
		}
	}
	if ran == 0 {
		t.Error("no close-code vector")
	}
}

// The codes that a peer may send, that we send, and that CloseCode keeps must be the
// same, because a peer rejects the others.
func TestCloseCodesOnTheWire(t *testing.T) {
	t.Parallel()
	valid := func(code int) bool {
		switch code {
		case 1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014:
			return true
		default:
			return code >= 3000 && code <= 4999
		}
	}
	for code := range 1 << 16 {
		body := []byte{byte(code >> 8), byte(code), 'x'}
		events, err := feed(newDecoder(unlimited, ws.Client, false), ws.AppendFrame(nil, ws.Close, false, body), 0)
		if valid(code) {
			if err != nil || len(events) != 1 || events[0] != closed(code, "x") {
				t.Fatalf("%d: got %q, error %v", code, events, err)
			}
		} else if closeCode(t, err) != ws.CloseProtocolError || events != nil {
			t.Fatalf("%d: got %q, error %v", code, events, err)
		}
		if sent := len(ws.AppendCloseBody(nil, code, "x")) > 0; sent != valid(code) {
			t.Fatalf("%d: sent %t, valid %t", code, sent, valid(code))
		}
		if kept := ws.CloseCode(code) == code; kept != valid(code) {
			t.Fatalf("%d: kept %t, valid %t", code, kept, valid(code))
		}
		if !valid(ws.CloseCode(code)) {
			t.Fatalf("CloseCode(%d) = %d", code, ws.CloseCode(code))
		}
	}
}

func TestAppendClose(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 122)
	tests := []struct {
		code         int
		reason, want string
	}{
		{ws.CloseNormal, "", "\x88\x02\x03\xe8"},
		{ws.CloseTooBig, "big", "\x88\x05\x03\xf1big"},
		{ws.CloseNoStatus, "ignored", "\x88\x00"},
		{ws.CloseAbnormal, "ignored", "\x88\x00"},
		{-1, "ignored", "\x88\x00"},
		{1<<16 + 1000, "ignored", "\x88\x00"},
		{ws.CloseNormal, long + "y", "\x88\x7d\x03\xe8" + long + "y"},
		{ws.CloseNormal, long + "yz", "\x88\x7d\x03\xe8" + long + "y"},
		{ws.CloseNormal, long + "é", "\x88\x7c\x03\xe8" + long},
		{ws.CloseNormal, long[3:] + "🐸🐸", "\x88\x7d\x03\xe8" + long[3:] + "🐸"},
		{ws.CloseNormal, long[2:] + "🐸🐸", "\x88\x7a\x03\xe8" + long[2:]},
		{ws.CloseNormal, "\xff", "\x88\x05\x03\xe8�"},
	}
	for _, test := range tests {
		if got := string(ws.AppendClose(nil, test.code, test.reason)); got != test.want {
			t.Errorf("%d %q: got %q, want %q", test.code, test.reason, got, test.want)
		}
	}
}

func TestCloseErrorText(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"websocket closed with code 1001":            &ws.CloseError{Code: ws.CloseGoingAway},
		"websocket closed with code 1009: too large": &ws.CloseError{Code: ws.CloseTooBig, Reason: "too large"},
	} {
		if got := fmt.Sprint(err); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
