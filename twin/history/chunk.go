package history

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"github.com/edgekit/edgekit/meta"
)

// area is where the chunks are in the store. The key of a chunk says all that a Log must know
// of it, so that Load reads no values:
//
//	local/twin/history/<namespace>/<name>/<property>/<seq><oldest><newest><count><bytes>
//
// The numbers are hexadecimal, of 16, 12, 12, 4 and 6 digits. Properties may have slashes in
// their names.
const area = meta.Local + "twin/history/"

const (
	chunkVersion = 1
	sumBytes     = 4 // the CRC-32 at the end of a chunk
	keyDigits    = 16 + 12 + 12 + 4 + 6
	maxTime      = 1<<48 - 1 // of a key, in milliseconds
	maxCount     = 1<<16 - 1
)

// chunk is what is known of a chunk without reading it.
type chunk struct {
	seq            uint64 // of its first entry
	oldest, newest int64  // the least and the greatest time of its entries, in milliseconds
	count, bytes   int
}

// end is the Seq after the last of the chunk.
func (c chunk) end() uint64 { return c.seq + uint64(c.count) }

// series names the history of one property.
type series struct{ device, property string }

func (s series) key(c chunk) string {
	return fmt.Sprintf("%s%s/%s/%016x%012x%012x%04x%06x", area, s.device, s.property, c.seq, c.oldest, c.newest, c.count, c.bytes)
}

// parseKey reads a key that series.key has made.
func parseKey(key string) (s series, c chunk, err error) {
	path, ok := strings.CutPrefix(key, area)
	cut := len(path) - keyDigits - 1
	if !ok || cut < 0 || path[cut] != '/' {
		return s, c, errors.New("the key is not that of a chunk")
	}
	parts := strings.SplitN(path[:cut], "/", 3)
	if len(parts) != 3 || parts[2] == "" {
		return s, c, errors.New("the key names no property")
	}
	s = series{device: parts[0] + "/" + parts[1], property: parts[2]}
	var n [5]uint64
	digits := path[cut+1:]
	for i, width := range [...]int{16, 12, 12, 4, 6} {
		if n[i], err = strconv.ParseUint(digits[:width], 16, 64); err != nil {
			return s, c, fmt.Errorf("the key is not that of a chunk: %w", err)
		}
		digits = digits[width:]
	}
	c = chunk{seq: n[0], oldest: int64(n[1]), newest: int64(n[2]), count: int(n[3]), bytes: int(n[4])}
	if c.count == 0 || c.oldest > c.newest || c.seq > 1<<62 {
		return s, c, errors.New("the key has numbers that no chunk has")
	}
	return s, c, nil
}

// encode returns a chunk of entries, whose Seqs are consecutive. There is at least one.
func encode(entries []Entry) (chunk, []byte) {
	c := chunk{seq: entries[0].Seq, count: len(entries), oldest: entries[0].Time, newest: entries[0].Time}
	out := []byte{chunkVersion}
	last := int64(0)
	for _, e := range entries {
		c.oldest, c.newest = min(c.oldest, e.Time), max(c.newest, e.Time)
		out = binary.AppendVarint(out, e.Time-last)
		out = appendText(appendText(out, e.Value), e.Fault)
		last = e.Time
	}
	out = binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out))
	c.bytes = len(out)
	return c, out
}

func appendText(out []byte, text string) []byte {
	return append(binary.AppendUvarint(out, uint64(len(text))), text...)
}

var errDamaged = errors.New("the chunk is damaged")

// decode reads what encode has made. An Entry takes 48 bytes of memory and at least 3 of the
// chunk; count is from the key, so a chunk with another number of entries is refused before.
func decode(c chunk, raw []byte) ([]Entry, error) {
	end := len(raw) - sumBytes
	if len(raw) != c.bytes || end < 1 || raw[0] != chunkVersion || c.count > end/3 || crc32.ChecksumIEEE(raw[:end]) != binary.BigEndian.Uint32(raw[end:]) {
		return nil, errDamaged
	}
	return decodeEntries(c, raw[1:end])
}

func decodeEntries(c chunk, raw []byte) ([]Entry, error) {
	entries := make([]Entry, 0, c.count)
	last := int64(0)
	for len(raw) > 0 {
		delta, n := binary.Varint(raw)
		if n <= 0 || len(entries) == c.count {
			return nil, errDamaged
		}
		raw = raw[n:]
		e := Entry{Seq: c.seq + uint64(len(entries)), Time: last + delta}
		var ok1, ok2 bool
		e.Value, raw, ok1 = cutText(raw)
		e.Fault, raw, ok2 = cutText(raw)
		if !ok1 || !ok2 || e.Time < c.oldest || e.Time > c.newest {
			return nil, errDamaged
		}
		last = e.Time
		entries = append(entries, e)
	}
	if len(entries) != c.count {
		return nil, errDamaged
	}
	return entries, nil
}

func cutText(raw []byte) (text string, rest []byte, ok bool) {
	size, n := binary.Uvarint(raw)
	if n <= 0 || size > uint64(len(raw)-n) {
		return "", nil, false
	}
	end := n + int(size)
	return string(raw[n:end]), raw[end:], true
}
