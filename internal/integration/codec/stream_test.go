package codec_test

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pondsocket/pond/internal/ws"
	"pgregory.net/rapid"
)

// lenient has the rules that coder/websocket does not check, or checks differently. It
// need not agree about these.
var lenient = map[string]string{
	"text":                         "it leaves UTF-8 to the application",
	"close reason":                 "it leaves UTF-8 to the application",
	"long form of a control frame": "it checks the length, but not the number of bytes that encode it",
	"masked by a server":           "its clients do not check the mask",
	"fragments":                    "it does not limit them",
	"size before it is inflated":   "it limits the inflated size",
	"compressed data":              "it treats truncated data as the end of a message",
}

func TestStreams(t *testing.T) {
	for _, r := range []rules{{role: ws.Server}, {role: ws.Client}, {role: ws.Server, deflate: true}, {role: ws.Client, deflate: true}} {
		t.Run(fmt.Sprintf("role %d, deflate %t", r.role, r.deflate), func(t *testing.T) { testStreams(t, r) })
	}
}

func testStreams(t *testing.T, r rules) {
	rapid.Check(t, func(rt *rapid.T) {
		r.limit = rapid.SampledFrom([]int{0, 0, 300}).Draw(rt, "limit")
		r.fragments = rapid.SampledFrom([]int{0, 0, 2}).Draw(rt, "fragments")
		stream := streams(r).Draw(rt, "stream")
		want := r.judge(stream)
		if want.why != "" {
			rt.Logf("closed with %d: %s", want.code, want.why)
		}

		got := ours(r, stream, rapid.IntRange(0, 20).Draw(rt, "pieces of"))
		if !slices.Equal(got.events, want.events) || got.refused != want.refused || got.code != want.code {
			rt.Fatalf("pond reports %v, want %v", got, want)
		}

		got = theirs(t, r, stream)
		switch {
		case lenient[want.why] != "", want.doubt:
			if n := want.certain; len(got.events) < n || !slices.Equal(got.events[:n], want.events[:n]) {
				rt.Fatalf("coder/websocket reports %v, want %v first", got, want)
			}
		case !slices.Equal(got.events, want.events) || got.refused != want.refused || got.code != 0 && got.code != want.code:
			rt.Fatalf("coder/websocket reports %v, want %v", got, want)
		}
	})
}

// ours returns the events that the decoder of pond reports for a stream in pieces of
// n bytes. If n is 0, the stream is one piece.
func ours(r rules, stream []byte, n int) verdict {
	var d ws.Decoder
	var rec record
	d.Init(&ws.Config{MaxMessage: r.limit, MaxFragments: r.fragments}, r.role, r.deflate)
	if n == 0 {
		n = len(stream) + 1
	}
	for piece := range slices.Chunk(bytes.Clone(stream), n) {
		if err := d.Feed(piece, &rec); err != nil {
			broken, ok := errors.AsType[*ws.CloseError](err)
			if !ok {
				broken = &ws.CloseError{Code: -1}
			}
			return verdict{events: rec.events, refused: true, code: broken.Code}
		}
	}
	return verdict{events: rec.events}
}

// streams generates frames. Most of them are well formed and in order. Some streams are
// truncated.
func streams(r rules) *rapid.Generator[[]byte] {
	return rapid.Custom(func(t *rapid.T) []byte {
		var stream []byte
		inside := false // a fragmented message
		for _, odd := range rapid.SliceOfN(oddities, 0, 12).Draw(t, "oddities") {
			f := frame{masked: r.role == ws.Server, odd: odd}
			f.fin = rapid.SampledFrom([]bool{true, true, false}).Draw(t, "fin")
			switch ops := []ws.Opcode{ws.Text, ws.Binary, ws.Text, ws.Ping, ws.Pong, ws.Close}; {
			case rapid.IntRange(0, 9).Draw(t, "order") == 9:
				f.op = rapid.SampledFrom(append(ops, ws.Continuation)).Draw(t, "op")
			case inside:
				f.op = rapid.SampledFrom([]ws.Opcode{ws.Continuation, ws.Continuation, ws.Ping}).Draw(t, "op")
			default:
				f.op = rapid.SampledFrom(ops).Draw(t, "op")
			}
			control := f.op >= ws.Close
			f.fin = f.fin || control
			f.rsv1 = r.deflate && (f.op == ws.Text || f.op == ws.Binary) && rapid.Bool().Draw(t, "compressed")
			f.payload = payloads(f).Draw(t, "payload")
			if !control {
				inside = !f.fin
			}
			stream = f.append(stream)
		}
		if rapid.IntRange(0, 3).Draw(t, "whole") == 3 {
			stream = stream[:rapid.IntRange(0, len(stream)).Draw(t, "length")]
		}
		return stream
	})
}

// A frame is one frame from either side.
type frame struct {
	op                ws.Opcode
	fin, rsv1, masked bool
	payload           []byte
	odd               oddity
}

// An oddity is an unusual property of a frame.
type oddity string

const (
	plain      oddity = ""
	longForm   oddity = "long form" // of its length; not an error in a data frame
	flipMask   oddity = "mask"
	flipRSV1   oddity = "rsv1"
	setRSV2    oddity = "rsv2"
	setRSV3    oddity = "rsv3"
	opcode     oddity = "opcode"
	flipFin    oddity = "fin"
	negative   oddity = "negative length"
	enormous   oddity = "enormous length"
	corruption oddity = "corruption"
)

var oddities = rapid.SampledFrom(slices.Concat(slices.Repeat([]oddity{plain}, 40), []oddity{
	longForm, longForm, longForm, flipMask, flipRSV1, setRSV2, setRSV3, opcode, flipFin, negative, enormous, corruption, corruption,
}))

func (f frame) append(dst []byte) []byte {
	first := byte(f.op)
	if f.fin {
		first |= 0x80
	}
	if f.rsv1 {
		first |= 0x40
	}
	second := byte(0)
	if f.masked {
		second = 0x80
	}
	form := len(f.payload)
	length := uint64(form)
	switch f.odd {
	case longForm:
		form = 1 << 16
	case flipMask:
		second ^= 0x80
	case flipRSV1:
		first ^= 0x40
	case setRSV2:
		first |= 0x20
	case setRSV3:
		first |= 0x10
	case opcode:
		first |= 0x04
	case flipFin:
		first ^= 0x80
	case negative:
		form, length = 1<<16, length|1<<63
	case enormous:
		form, length = 1<<16, length|1<<62
	case corruption:
		if len(f.payload) > 0 {
			f.payload[len(f.payload)/2] ^= 0x81
		}
	}
	switch {
	case form < 126:
		dst = append(dst, first, second|byte(form))
	case form < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, first, second|126), uint16(form))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, first, second|127), length)
	}
	if second == 0 {
		return append(dst, f.payload...)
	}
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	dst = append(dst, key[:]...)
	for i, b := range f.payload {
		dst = append(dst, b^key[i%4])
	}
	return dst
}

// payloads generates payloads of frames.
func payloads(f frame) *rapid.Generator[[]byte] {
	return rapid.Custom(func(t *rapid.T) []byte {
		size := rapid.SampledFrom([]int{0, 1, 5, 20, 124, 125, 126, 127, 299, 300, 301, 400}).Draw(t, "size")
		if f.op >= ws.Close && rapid.IntRange(0, 9).Draw(t, "fits") < 9 {
			size = min(size, 125)
		}
		text := strings.Repeat(rapid.StringN(1, 4, -1).Draw(t, "text"), size)
		text = strings.ToValidUTF8(text[:min(size, len(text))], ".")
		switch {
		case f.op == ws.Close && size > 1:
			code := rapid.SampledFrom([]uint16{1000, 1001, 1003, 1004, 1005, 1006, 1007, 1011, 1014, 1015, 2999, 3000, 4999, 5000, 999, 0}).Draw(t, "code")
			return append(binary.BigEndian.AppendUint16(nil, code), text[:len(text)-2]...)
		case f.rsv1:
			return deflate(text, rapid.IntRange(flate.HuffmanOnly, flate.BestCompression).Draw(t, "level"))
		default:
			return []byte(text)
		}
	})
}

// deflate compresses text as RFC 7692 section 7.2.1 specifies.
func deflate(text string, level int) []byte {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, level) // the level is valid
	_, _ = w.Write([]byte(text))       // writing to a Buffer does not fail
	_ = w.Flush()
	return bytes.TrimSuffix(b.Bytes(), []byte("\x00\x00\xff\xff"))
}
