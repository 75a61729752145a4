package load

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/pondsocket/pond/internal/ws"
)

func TestFramesComeInPieces(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 65535, 65536} {
		payload := bytes.Repeat([]byte("p"), size)
		b := ws.AppendFrame(nil, ws.Text, false, payload)
		for _, i := range []int{0, 1, 2, 3, 4, 9, 10, len(b) - 1} {
			if i >= len(b) {
				continue
			}
			if _, n, err := nextFrame(b[:i]); n != 0 || err != nil {
				t.Errorf("%d of %d bytes: %d, %v", i, len(b), n, err)
			}
		}
		f, n, err := nextFrame(append(b, 0x81))
		if err != nil || n != len(b) || f.op != ws.Text || !f.fin || !bytes.Equal(f.payload, payload) {
			t.Errorf("%d bytes: %v, %v, %d bytes, %d of them payload, %v", size, f.op, f.fin, n, len(f.payload), err)
		}
	}
}

func TestBadFrames(t *testing.T) {
	for name, tt := range map[string]struct {
		frame string
		want  error
	}{
		"masked":     {"\x81\x80\x00\x00\x00\x00", errFrame},
		"compressed": {"\xc1\x00", errFrame},
		"reserved":   {"\xa1\x00", errFrame},
		"endless":    {"\x81\x7f" + string(binary.BigEndian.AppendUint64(nil, maxMessage+1)), errTooLarge},
	} {
		if _, _, err := nextFrame([]byte(tt.frame)); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}

func TestFragmentsAreJoined(t *testing.T) {
	var j assembler
	for _, tt := range []struct {
		frame
		want string
		err  error
	}{
		{frame{ws.Text, true, []byte("whole")}, "whole", nil},
		{frame{ws.Text, false, nil}, "", nil},
		{frame{ws.Continuation, false, []byte("in ")}, "", nil},
		{frame{ws.Continuation, true, []byte("parts")}, "in parts", nil},
		{frame{ws.Continuation, true, []byte("of nothing")}, "", errFrame},
		{frame{ws.Binary, false, []byte("begun")}, "", nil},
		{frame{ws.Text, true, []byte("interrupted")}, "", errFrame},
		{frame{ws.Continuation, true, []byte(strings.Repeat("x", maxMessage))}, "", errTooLarge},
	} {
		got, err := j.message(tt.frame)
		if string(got) != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%v %.20q: %.20q, %v, want %q, %v", tt.op, tt.payload, got, err, tt.want, tt.err)
		}
	}
}
