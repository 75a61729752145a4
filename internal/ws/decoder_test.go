package ws_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/pondsocket/pond/internal/ws"
)

func TestDecoderSequences(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("long ", 14_000)
	tests := map[string]struct {
		data []byte
		want []string
	}{
		"nothing":      {nil, nil},
		"empty text":   {frame(ws.Text, ""), []string{`text ""`}},
		"empty binary": {frame(ws.Binary, ""), []string{`binary ""`}},
		"two messages": {
			join(frame(ws.Text, "Hello"), frame(ws.Binary, "\xff\x00")),
			[]string{`text "Hello"`, message(ws.Binary, "\xff\x00")},
		},
		"64-bit length": {frame(ws.Text, long), []string{message(ws.Text, long)}},
		"length not minimal": {
			[]byte("\x82\xff\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00x"),
			[]string{`binary "x"`},
		},
		"longest control frame": {
			frame(ws.Ping, strings.Repeat("p", 125)),
			[]string{message(ws.Ping, strings.Repeat("p", 125))},
		},
		"fragments": {
			join(part(ws.Text, false, "Hel"), part(ws.Continuation, false, "l"), frame(ws.Continuation, "o"), frame(ws.Text, "!")),
			[]string{`text "Hello"`, `text "!"`},
		},
		"empty fragments": {
			join(part(ws.Text, false, ""), part(ws.Continuation, false, ""), frame(ws.Continuation, "")),
			[]string{`text ""`},
		},
		"control frames between fragments": {
			join(part(ws.Text, false, "Hel"), frame(ws.Ping, "one"), part(ws.Continuation, false, "l"),
				frame(ws.Pong, ""), frame(ws.Ping, "two"), frame(ws.Continuation, "o")),
			[]string{`ping "one"`, `pong ""`, `ping "two"`, `text "Hello"`},
		},
		"control frame after an empty fragment": {
			join(part(ws.Binary, false, ""), frame(ws.Ping, "one"), frame(ws.Continuation, "x")),
			[]string{`ping "one"`, `binary "x"`},
		},
		"rune cut by a ping": {
			join(part(ws.Text, false, "\xf0\x9f"), frame(ws.Ping, "\xff"), part(ws.Continuation, false, "\x90"), frame(ws.Continuation, "\xb8")),
			[]string{message(ws.Ping, "\xff"), message(ws.Text, "🐸")},
		},
		"close without a code":   {frame(ws.Close, ""), []string{closed(ws.CloseNoStatus, "")}},
		"close without a reason": {frame(ws.Close, "\x03\xe8"), []string{closed(1000, "")}},
		"close with a reason":    {frame(ws.Close, "\x0f\xa0bye"), []string{closed(4000, "bye")}},
		"everything after a close is ignored": {
			join(frame(ws.Close, "\x03\xe8"), frame(ws.Text, "late"), []byte("\xff\xff\xff\xff")),
			[]string{closed(1000, "")},
		},
		"close inside a message": {
			join(part(ws.Text, false, "unfinished"), frame(ws.Close, ""), frame(ws.Continuation, "")),
			[]string{closed(ws.CloseNoStatus, "")},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, size := range []int{0, 1, 2, 3, 7, 4096} {
				d := newDecoder(unlimited, ws.Server, false)
				got, err := feed(d, test.data, size)
				if err != nil || !slices.Equal(got, test.want) {
					t.Errorf("pieces of %d: got %.200q, error %v, want %.200q", size, got, err, test.want)
				}
				if d.MidMessage() {
					t.Errorf("pieces of %d: still inside a message", size)
				}
			}
		})
	}
}

func TestDecoderViolations(t *testing.T) {
	t.Parallel()
	limits := &ws.Config{MaxMessage: 20, MaxFragments: 3}
	const half = "0123456789"
	hello := ws.AppendDeflate(nil, []byte("Hello"))
	deflated := func(op ws.Opcode, fin bool, payload []byte) []byte {
		return ws.AppendMasked(nil, op, fin, true, testKey, payload)
	}
	type test struct {
		data []byte
		code int
		want []string // the events before the error
	}
	tests := map[string]test{
		"control frame in fragments": {data: part(ws.Ping, false, ""), code: 1002},
		"control frame of 126 bytes": {data: []byte("\x89\xfe\x00\x7e"), code: 1002},
		"control frame of 2^32":      {data: []byte("\x88\xff\x00\x00\x00\x01\x00\x00\x00\x00"), code: 1002},
		"unmasked":                   {data: []byte("\x81\x05Hello"), code: 1002},
		"unmasked, empty":            {data: []byte("\x81\x00"), code: 1002},
		"negative length":            {data: []byte("\x82\xff\x80\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00"), code: 1002},
		"continuation of nothing":    {data: frame(ws.Continuation, "x"), code: 1002},
		"continuation after a message": {
			data: join(frame(ws.Text, "done"), frame(ws.Continuation, "x")), code: 1002, want: []string{`text "done"`},
		},
		"text inside a message":   {data: join(part(ws.Text, false, "a"), frame(ws.Text, "b")), code: 1002},
		"binary inside a message": {data: join(part(ws.Text, false, "a"), frame(ws.Ping, ""), part(ws.Binary, false, "b")), code: 1002, want: []string{`ping ""`}},

		"close with a 1-byte payload":    {data: frame(ws.Close, "\x03"), code: 1002},
		"close with code 1005":           {data: frame(ws.Close, "\x03\xed"), code: 1002},
		"close with a reason not UTF-8":  {data: frame(ws.Close, "\x03\xe8\xce\xba\xe1"), code: 1007},
		"text not UTF-8":                 {data: frame(ws.Text, "\xff"), code: 1007},
		"text ends inside a rune":        {data: frame(ws.Text, "\xf0\x9f\x90"), code: 1007},
		"fragments end inside a rune":    {data: join(part(ws.Text, false, "\xf0\x9f"), frame(ws.Continuation, "\x90")), code: 1007},
		"not UTF-8 in a fragment":        {data: part(ws.Text, false, "\xff"), code: 1007},
		"rune broken across fragments":   {data: join(part(ws.Text, false, "\xe2\x82"), part(ws.Continuation, false, "x")), code: 1007},
		"rune left open by the last one": {data: join(part(ws.Text, false, "\xe2\x82"), frame(ws.Continuation, "")), code: 1007},

		"frame above the limit":         {data: []byte("\x82\x95"), code: 0},
		"frame above the limit, header": {data: []byte("\x82\x95\x00\x00\x00\x00"), code: 1009},
		"frame at the limit":            {data: frame(ws.Binary, half+half), want: []string{message(ws.Binary, half+half)}},
		"longest frame":                 {data: []byte("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00"), code: 1009},
		"longest second frame": {
			data: join(part(ws.Binary, false, "x"), []byte("\x80\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00")), code: 1009,
		},
		"sum at the limit":    {data: join(part(ws.Binary, false, half), frame(ws.Continuation, half)), want: []string{message(ws.Binary, half+half)}},
		"sum above the limit": {data: join(part(ws.Binary, false, half), frame(ws.Continuation, half+"x")), code: 1009},
		"control frames do not count": {
			data: join(part(ws.Binary, false, half), frame(ws.Ping, half+half+"x"), frame(ws.Pong, ""), frame(ws.Continuation, half)),
			want: []string{message(ws.Ping, half+half+"x"), `pong ""`, message(ws.Binary, half+half)},
		},
		"as many fragments as allowed": {
			data: join(part(ws.Text, false, "a"), part(ws.Continuation, false, "b"), frame(ws.Continuation, "c")),
			want: []string{`text "abc"`},
		},
		"one fragment too many": {
			data: join(part(ws.Text, false, ""), part(ws.Continuation, false, ""), part(ws.Continuation, false, ""), frame(ws.Continuation, "")),
			code: 1008,
		},
		"fragments are counted anew": {
			data: join(part(ws.Text, false, "a"), part(ws.Continuation, false, "b"), frame(ws.Continuation, "c"),
				part(ws.Text, false, "d"), frame(ws.Continuation, "e")),
			want: []string{`text "abc"`, `text "de"`},
		},

		"compressed":             {data: deflated(ws.Text, true, hello), want: []string{`text "Hello"`}},
		"compressed in pieces":   {data: join(deflated(ws.Text, false, hello[:3]), frame(ws.Continuation, string(hello[3:]))), want: []string{`text "Hello"`}},
		"plain beside it":        {data: join(deflated(ws.Text, true, hello), frame(ws.Text, "plain")), want: []string{`text "Hello"`, `text "plain"`}},
		"compressed ping":        {data: deflated(ws.Ping, true, hello), code: 1002},
		"compressed close":       {data: deflated(ws.Close, true, nil), code: 1002},
		"compressed on the rest": {data: join(part(ws.Text, false, ""), deflated(ws.Continuation, true, hello)), code: 1002},
		"compressed twice":       {data: join(deflated(ws.Text, false, hello[:3]), deflated(ws.Continuation, true, hello[3:])), code: 1002},
		"compressed, not UTF-8":  {data: deflated(ws.Text, true, ws.AppendDeflate(nil, []byte("\xff"))), code: 1007},
		"compressed, corrupt":    {data: deflated(ws.Text, true, []byte("\xff\xff")), code: 1007},
		"compressed, too big":    {data: deflated(ws.Text, true, ws.AppendDeflate(nil, make([]byte, 21))), code: 1009},
		"compressed, at limit":   {data: deflated(ws.Binary, true, ws.AppendDeflate(nil, make([]byte, 20))), want: []string{message(ws.Binary, string(make([]byte, 20)))}},
	}
	for _, op := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		tests[fmt.Sprintf("reserved opcode %d", op)] = test{data: []byte{0x80 | op, 0x80, 0, 0, 0, 0}, code: 1002}
	}
	for _, op := range []ws.Opcode{ws.Text, ws.Ping, ws.Close} {
		for _, rsv := range []byte{0x10, 0x20, 0x30, 0x50, 0x60, 0x70} {
			tests[fmt.Sprintf("reserved bits %#x on opcode %d", rsv, op)] = test{data: []byte{0x80 | rsv | byte(op), 0x80, 0, 0, 0, 0}, code: 1002}
		}
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, size := range []int{0, 1, 2, 3, 7} {
				d := newDecoder(limits, ws.Server, true)
				got, err := feed(d, test.data, size)
				if code := closeCode(t, err); code != test.code || !slices.Equal(got, test.want) {
					t.Errorf("pieces of %d: got %q and %d (%v), want %q and %d", size, got, code, err, test.want, test.code)
				}
				if err != nil && d.MidMessage() {
					t.Errorf("pieces of %d: still inside a message after an error", size)
				}
			}
		})
	}
}

func TestDecoderRefusesForItsRole(t *testing.T) {
	t.Parallel()
	plain := ws.AppendFrame(nil, ws.Text, false, []byte("Hello"))
	packed := ws.AppendFrame(nil, ws.Text, true, ws.AppendDeflate(nil, []byte("Hello")))
	tests := map[string]struct {
		role ws.Role
		data []byte
		code int
	}{
		"masked for a client":        {ws.Client, frame(ws.Text, "Hello"), 1002},
		"unmasked for a client":      {ws.Client, plain, 0},
		"unmasked for a server":      {ws.Server, plain, 1002},
		"compressed, not negotiated": {ws.Client, packed, 1002},
	}
	for name, test := range tests {
		_, err := feed(newDecoder(unlimited, test.role, false), test.data, 0)
		if code := closeCode(t, err); code != test.code {
			t.Errorf("%s: got %d (%v), want %d", name, code, err, test.code)
		}
	}
}

// Text is rejected at the first byte that cannot be part of valid UTF-8, before the
// frame or the message is complete.
func TestDecoderRefusesTextEarly(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		text string
		at   int // number of bytes after which it failed
	}{
		"invalid byte":         {"ab\xffcd", 3},
		"lone continuation":    {"ab\x80cd", 3},
		"overlong slash":       {"\xc0\xafcd", 1},
		"overlong, 3 bytes":    {"\xe0\x80\xaf", 2},
		"overlong, 4 bytes":    {"\xf0\x80\x80\xaf", 2},
		"surrogate":            {"\xed\xa0\x80", 2},
		"above U+10FFFF":       {"κόσμε\xf4\x90\x80\x80edited", 12},
		"five bytes":           {"\xf8\x88\x80\x80\x80", 1},
		"rune interrupted":     {"\xf0\x9f\x90a", 4},
		"rune restarted":       {"\xf0\x9f\xf0\x9f", 3},
		"second byte missing":  {"\xe2a", 2},
		"last byte of a frame": {"0123456789\xfe", 11},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inFrame := []byte("\x81\xfe\x10\x00\x00\x00\x00\x00" + test.text)
			var inFragments []byte
			for i := range len(test.text) {
				op := ws.Continuation
				if i == 0 {
					op = ws.Text
				}
				inFragments = append(inFragments, part(op, false, test.text[i:i+1])...)
			}
			for _, stream := range []struct {
				data []byte
				at   int
			}{
				{inFrame, 8 + test.at},
				{inFragments, 7 * test.at},
			} {
				d := newDecoder(unlimited, ws.Server, false)
				if _, err := feed(d, stream.data[:stream.at-1], 1); err != nil {
					t.Fatalf("refused before byte %d: %v", stream.at, err)
				}
				if _, err := feed(d, stream.data[stream.at-1:stream.at], 1); closeCode(t, err) != ws.CloseInvalidPayload {
					t.Errorf("at byte %d: %v", stream.at, err)
				}
			}
		})
	}
}

func TestDecoderErrorsStay(t *testing.T) {
	t.Parallel()
	var rec recorder
	d := newDecoder(unlimited, ws.Server, false)
	first := d.Feed([]byte("\x81\x00"), &rec)
	if second := d.Feed(frame(ws.Text, "late"), &rec); first == nil || !errors.Is(second, first) {
		t.Errorf("got %v, then %v", first, second)
	}
	if rec.events != nil {
		t.Errorf("got %q", rec.events)
	}
}

func TestSinkErrorsEndDecoding(t *testing.T) {
	t.Parallel()
	packed := ws.AppendMasked(nil, ws.Text, true, true, testKey, ws.AppendDeflate(nil, []byte("Hello")))
	for name, data := range map[string][]byte{
		"message":    frame(ws.Text, "Hello"),
		"compressed": packed,
		"ping":       frame(ws.Ping, ""),
		"close":      frame(ws.Close, ""),
	} {
		rec := recorder{err: errors.New("enough")}
		d := newDecoder(unlimited, ws.Server, true)
		if err := d.Feed(join(data, data), &rec); !errors.Is(err, rec.err) {
			t.Errorf("%s: got %v", name, err)
		}
		if err := d.Feed(data, &rec); !errors.Is(err, rec.err) || len(rec.events) != 1 {
			t.Errorf("%s: got %v and %q", name, err, rec.events)
		}
	}
}

func TestMidMessage(t *testing.T) {
	t.Parallel()
	steps := []struct {
		data []byte
		want bool
	}{
		{nil, false},
		{frame(ws.Text, "whole"), false},
		{frame(ws.Text, "x")[:1], true},
		{frame(ws.Text, "x")[1:6], true},
		{frame(ws.Text, "x")[6:], false},
		{part(ws.Text, false, ""), true},
		{frame(ws.Ping, "between"), true},
		{frame(ws.Continuation, ""), false},
		{frame(ws.Ping, "pieces")[:8], true},
		{frame(ws.Ping, "pieces")[8:], false},
		{part(ws.Text, false, "open"), true},
		{frame(ws.Close, ""), false},
		{frame(ws.Text, "x")[:1], false},
	}
	d := newDecoder(unlimited, ws.Server, false)
	for i, step := range steps {
		if _, err := feed(d, step.data, 0); err != nil {
			t.Fatal(err)
		}
		if got := d.MidMessage(); got != step.want {
			t.Errorf("step %d: got %t, want %t", i, got, step.want)
		}
	}
}

func TestInitStartsAnew(t *testing.T) {
	t.Parallel()
	d := newDecoder(unlimited, ws.Server, false)
	if _, err := feed(d, []byte("\x81\x00"), 0); err == nil {
		t.Fatal("no error")
	}
	d.Init(unlimited, ws.Server, false)
	if got, err := feed(d, frame(ws.Text, "again"), 0); err != nil || !slices.Equal(got, []string{`text "again"`}) {
		t.Errorf("got %q, error %v", got, err)
	}
}

// Every idle connection has one.
func TestDecoderSize(t *testing.T) {
	t.Parallel()
	if size := unsafe.Sizeof(ws.Decoder{}); size > 96 {
		t.Errorf("a Decoder has %d bytes", size)
	}
}
