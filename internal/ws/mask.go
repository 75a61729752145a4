package ws

import (
	"encoding/binary"
	"math/bits"
)

// mask masks or unmasks b in place, RFC 6455 section 5.3. The lowest byte of key is for
// b[0]; the returned key is for the data that follows b.
func mask(b []byte, key uint32) uint32 {
	wide := uint64(key)<<32 | uint64(key)
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^wide)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= byte(key)
		key = bits.RotateLeft32(key, -8)
	}
	return key
}
