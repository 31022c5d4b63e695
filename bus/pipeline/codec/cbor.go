package codec

import (
	"encoding/binary"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// CBOR decodes one item of CBOR (RFC 8949). Maps become map[string]any: keys are texts, or
// whole numbers, which are written as texts as SenML has them. Whole numbers become int64, or
// uint64 where int64 is too small; floats of all sizes float64; byte strings []byte. Tags 0 and
// 1 are times and become texts as in RFC 3339; of other tags the content is taken. undefined
// becomes nil.
// The zero value is ready for use. Several goroutines may use one CBOR at once, and must not
// copy it.
type CBOR struct{ names names }

// Decode implements the decoder of pipelines. It keeps nothing of b.
func (c *CBOR) Decode(b []byte) (any, error) {
	p := cborParser{b: b, left: budgetOf(len(b)), names: &c.names}
	v, err := p.item()
	if err != nil {
		return nil, err
	}
	if p.i < len(b) {
		return nil, p.wrong("there is more than one item")
	}
	return v, nil
}

// Major types of CBOR.
const (
	cborUint = iota
	cborNegative
	cborBytes
	cborText
	cborArray
	cborMap
	cborTag
	cborSimple
)

const (
	cborIndefinite = 31   // additional information: the length is not known
	cborBreak      = 0xff // ends an item of indefinite length
)

type cborParser struct {
	b     []byte
	i     int
	depth int
	left  budget
	names *names
}

func (p *cborParser) wrong(reason string) error {
	return &SyntaxError{Format: "cbor", Offset: p.i, Reason: reason}
}

func (p *cborParser) spend(n int) error {
	if p.left.spend(n) {
		return nil
	}
	return &LimitError{Format: "cbor", Offset: p.i}
}

// head reads the first bytes of an item.
func (p *cborParser) head() (major, info byte, arg uint64, err error) {
	if p.i >= len(p.b) {
		return 0, 0, 0, p.wrong("it ends too early")
	}
	first := p.b[p.i]
	major, info = first>>5, first&31
	p.i++
	switch {
	case info < 24:
		return major, info, uint64(info), nil
	case info <= 27:
		n := 1 << (info - 24)
		if len(p.b)-p.i < n {
			return 0, 0, 0, p.wrong("it ends too early")
		}
		switch at := p.b[p.i:]; n {
		case 1:
			arg = uint64(at[0])
		case 2:
			arg = uint64(binary.BigEndian.Uint16(at))
		case 4:
			arg = uint64(binary.BigEndian.Uint32(at))
		default:
			arg = binary.BigEndian.Uint64(at)
		}
		p.i += n
		return major, info, arg, nil
	case info == cborIndefinite && major >= cborBytes && major != cborTag:
		return major, info, 0, nil
	}
	p.i--
	return 0, 0, 0, p.wrong("there is no item here")
}

func (p *cborParser) item() (any, error) {
	start := p.i
	major, info, arg, err := p.head()
	if err != nil {
		return nil, err
	}
	switch major {
	case cborUint:
		if arg > math.MaxInt64 {
			return arg, p.spend(costBox)
		}
		return int64(arg), p.spend(costBox)
	case cborNegative:
		if arg > math.MaxInt64 {
			return -1 - float64(arg), p.spend(costBox) // beyond 64 bits
		}
		return -1 - int64(arg), p.spend(costBox)
	case cborBytes:
		b, err := p.chunks(cborBytes, info, arg)
		if err != nil {
			return nil, err
		}
		if err := p.spend(costList + textCost(len(b))); err != nil {
			return nil, err
		}
		return append([]byte{}, b...), nil
	case cborText:
		b, err := p.chunks(cborText, info, arg)
		if err != nil {
			return nil, err
		}
		if err := p.spend(textCost(len(b))); err != nil {
			return nil, err
		}
		return string(b), nil
	case cborSimple:
		return p.simple(info, arg)
	}
	if p.depth++; p.depth > MaxDepth {
		return nil, &LimitError{Format: "cbor", Offset: start, Deep: true}
	}
	defer func() { p.depth-- }()
	switch major {
	case cborArray:
		return p.array(info, arg)
	case cborMap:
		return p.object(info, arg)
	}
	return p.tagged(arg)
}

// chunks returns the bytes of a string. A string of indefinite length is joined.
func (p *cborParser) chunks(kind, info byte, n uint64) ([]byte, error) {
	if info != cborIndefinite {
		return p.chunk(kind, n)
	}
	var all []byte
	for {
		if p.end() {
			return all, nil
		}
		major, info, n, err := p.head()
		if err != nil {
			return nil, err
		}
		if major != kind || info == cborIndefinite {
			return nil, p.wrong("a part of a string is of another type")
		}
		b, err := p.chunk(kind, n)
		if err != nil {
			return nil, err
		}
		if len(all)+len(b) > cap(all) {
			n := 2*(len(all)+len(b)) + 64
			if err := p.spend(n); err != nil {
				return nil, err
			}
			all = append(make([]byte, 0, n), all...)
		}
		all = append(all, b...)
	}
}

func (p *cborParser) chunk(kind byte, n uint64) ([]byte, error) {
	if n > uint64(len(p.b)-p.i) {
		return nil, p.wrong("a string is longer than what is there")
	}
	b := p.b[p.i : p.i+int(n)]
	if kind == cborText && !utf8.Valid(b) {
		return nil, p.wrong("a text is not UTF-8")
	}
	p.i += int(n)
	return b, nil
}

// end skips the end of an item of indefinite length, if it is here.
func (p *cborParser) end() bool {
	if p.i < len(p.b) && p.b[p.i] == cborBreak {
		p.i++
		return true
	}
	return false
}

// more says whether a map of n entries, or of indefinite length, has another one after done.
func (p *cborParser) more(info byte, n uint64, done int) bool {
	if info == cborIndefinite {
		return !p.end()
	}
	return uint64(done) < n
}

func (p *cborParser) array(info byte, n uint64) (any, error) {
	if info == cborIndefinite {
		return p.growing()
	}
	if n > uint64(len(p.b)-p.i) {
		return nil, p.wrong("an array has more elements than there are bytes")
	}
	if err := p.spend(costList + costItem*int(n)); err != nil {
		return nil, err
	}
	list := make([]any, int(n))
	for i := range list {
		v, err := p.item()
		if err != nil {
			return nil, err
		}
		list[i] = v
	}
	return list, nil
}

// growing reads an array of indefinite length.
func (p *cborParser) growing() (any, error) {
	var l listBuilder
	for !p.end() {
		v, err := p.item()
		if err != nil {
			return nil, err
		}
		if !l.add(v, &p.left) {
			return nil, p.spend(0)
		}
	}
	list, ok := l.list(&p.left)
	if !ok {
		return nil, p.spend(0)
	}
	return list, nil
}

func (p *cborParser) object(info byte, n uint64) (any, error) {
	hint := 0
	if info != cborIndefinite {
		if n > uint64(len(p.b)-p.i)/2 {
			return nil, p.wrong("a map has more entries than there are bytes")
		}
		hint = int(n)
	}
	if err := p.spend(mapCost(hint)); err != nil {
		return nil, err
	}
	m := make(map[string]any, hint)
	for done := 0; p.more(info, n, done); done++ {
		name, err := p.key()
		if err != nil {
			return nil, err
		}
		v, err := p.item()
		if err != nil {
			return nil, err
		}
		if hint == 0 {
			if err := p.spend(entryCost(len(m))); err != nil {
				return nil, err
			}
		}
		m[name] = v
	}
	return m, nil
}

// key reads the key of a map.
func (p *cborParser) key() (string, error) {
	start := p.i
	major, info, arg, err := p.head()
	if err != nil {
		return "", err
	}
	switch major {
	case cborText:
		b, err := p.chunks(cborText, info, arg)
		if err != nil {
			return "", err
		}
		name, fresh := p.names.of(b)
		if fresh {
			return name, p.spend(textCost(len(b)))
		}
		return name, nil
	case cborUint:
		return strconv.FormatUint(arg, 10), p.spend(3 * costText)
	case cborNegative:
		if arg <= math.MaxInt64 {
			return strconv.FormatInt(-1-int64(arg), 10), p.spend(3 * costText)
		}
	}
	p.i = start
	return "", p.wrong("the key of a map is neither a text nor a whole number")
}

// simple reads floats, bools, null and undefined.
func (p *cborParser) simple(info byte, arg uint64) (any, error) {
	switch info {
	case 20, 21:
		return info == 21, nil
	case 22, 23:
		return nil, nil
	case 25:
		return float64(half(uint16(arg))), p.spend(costBox)
	case 26:
		return float64(math.Float32frombits(uint32(arg))), p.spend(costBox)
	case 27:
		return math.Float64frombits(arg), p.spend(costBox)
	case cborIndefinite:
		return nil, p.wrong("an end without a beginning")
	}
	return nil, p.wrong("a simple value that is not known")
}

// half is a float of 16 bits (RFC 8949, appendix D).
func half(bits uint16) float32 {
	sign := uint32(bits&0x8000) << 16
	exp, mant := uint32(bits>>10&31), uint32(bits&0x3ff)
	switch exp {
	case 0: // zero and subnormal numbers
		f := float32(mant) / (1 << 24)
		return math.Float32frombits(math.Float32bits(f) | sign)
	case 31:
		return math.Float32frombits(sign | 0xff<<23 | mant<<13)
	}
	return math.Float32frombits(sign | (exp+127-15)<<23 | mant<<13)
}

// maxUnix is the end of the year 9999, in seconds since 1970.
const maxUnix = 253402300799

func (p *cborParser) tagged(tag uint64) (any, error) {
	start := p.i
	v, err := p.item()
	if err != nil || tag != 1 {
		return v, err
	}
	var t time.Time
	switch v := v.(type) {
	case int64:
		if v >= -maxUnix && v <= maxUnix {
			t = time.Unix(v, 0)
		}
	case float64:
		if math.Abs(v) <= maxUnix {
			s, part := math.Modf(v)
			t = time.Unix(int64(s), int64(math.Round(part*1e6))*1000)
		}
	}
	if t.IsZero() {
		p.i = start
		return nil, p.wrong("a time is no number of seconds before the year 10000")
	}
	return t.UTC().Format(time.RFC3339Nano), p.spend(3 * costText)
}
