package codec

import (
	"math"
	"strconv"
	"unsafe"
)

// number reads a number.
func (p *jsonParser) number() (any, error) {
	start, whole := p.i, true
	if p.b[p.i] == '-' {
		p.i++
	}
	intStart := p.i
	n := p.digits()
	if n == 0 || n > 1 && p.b[intStart] == '0' {
		p.i = start
		return nil, p.wrong("a number is malformed")
	}
	if p.i < len(p.b) && p.b[p.i] == '.' {
		p.i++
		if whole = false; p.digits() == 0 {
			return nil, p.wrong("a number is malformed")
		}
	}
	if p.i < len(p.b) && p.b[p.i]|0x20 == 'e' {
		p.i++
		if p.i < len(p.b) && (p.b[p.i] == '+' || p.b[p.i] == '-') {
			p.i++
		}
		if whole = false; p.digits() == 0 {
			return nil, p.wrong("a number is malformed")
		}
	}
	text := p.b[start:p.i]
	if whole && n <= 15 {
		return smallInt(text), nil
	}
	v, ok := parseNumber(text, whole)
	if !ok {
		p.i = start
		return nil, p.wrong("a number is too large")
	}
	return v, nil
}

// digits skips digits and returns how many there were.
func (p *jsonParser) digits() int {
	start := p.i
	for p.i < len(p.b) && p.b[p.i]-'0' <= 9 {
		p.i++
	}
	return p.i - start
}

// smallInt is the value of a whole number of at most 15 digits, which a float64 holds exactly.
func smallInt(text []byte) float64 {
	negative := text[0] == '-'
	if negative {
		text = text[1:]
	}
	var n int64
	for _, c := range text {
		n = n*10 + int64(c-'0')
	}
	if f := float64(n); !negative {
		return f
	}
	return math.Copysign(float64(n), -1)
}

// parseNumber returns a number as a float64, or as a whole one where that is exact and a
// float64 is not.
func parseNumber(text []byte, whole bool) (any, bool) {
	s := unsafe.String(&text[0], len(text)) // used within this function only: strconv keeps a copy in its errors
	if whole {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return exactInt(n), true
		}
		if n, err := strconv.ParseUint(s, 10, 64); err == nil {
			return exactUint(n), true
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil
}

// exactInt is n as JSON numbers are decoded: a float64 where that is exact.
func exactInt(n int64) any {
	if n >= -1<<53 && n <= 1<<53 {
		return float64(n)
	}
	return n
}

// exactUint is exactInt for numbers without a sign.
func exactUint(n uint64) any {
	if n <= 1<<53 {
		return float64(n)
	}
	if n <= math.MaxInt64 {
		return int64(n)
	}
	return n
}
