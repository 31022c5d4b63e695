package replica

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"

	"github.com/edgekit/edgekit/hub/internal/message"
)

// Digester adds up a message.Digest. It adds and does not XOR, since an entry that is
// listed twice would cancel itself out.
type Digester struct {
	hi, lo, count uint64
	buf           []byte
}

// Add adds a key with its version.
func (d *Digester) Add(k message.Key, version string) {
	d.buf = d.buf[:0]
	// The length before each text makes {"a","bc"} differ from {"ab","c"}.
	for _, s := range [...]string{k.Resource, k.Namespace, k.Name, version} {
		d.buf = binary.AppendUvarint(d.buf, uint64(len(s)))
		d.buf = append(d.buf, s...)
	}
	h := sha256.Sum256(d.buf)
	var carry uint64
	d.lo, carry = bits.Add64(d.lo, binary.BigEndian.Uint64(h[8:16]), 0)
	d.hi, _ = bits.Add64(d.hi, binary.BigEndian.Uint64(h[:8]), carry)
	d.count++
}

// Sum is the digest of what was added so far.
func (d *Digester) Sum() message.Digest {
	out := message.Digest{Count: d.count}
	binary.BigEndian.PutUint64(out.Sum[:8], d.hi)
	binary.BigEndian.PutUint64(out.Sum[8:], d.lo)
	return out
}
