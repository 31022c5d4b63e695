package containermetrics

import "bytes"

// eachLine calls fn with the words of each line, at most eight of them. The words are not to be
// kept.
func eachLine(text []byte, fn func(words [][]byte)) {
	var words [8][]byte
	for len(text) > 0 {
		line := text
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			line, text = text[:i], text[i+1:]
		} else {
			text = nil
		}
		n := 0
		for n < len(words) {
			line = bytes.TrimLeft(line, " \t")
			if len(line) == 0 {
				break
			}
			end := bytes.IndexAny(line, " \t")
			if end < 0 {
				end = len(line)
			}
			words[n] = line[:end]
			n, line = n+1, line[end:]
		}
		if n > 0 {
			fn(words[:n])
		}
	}
}

// eachNumber calls fn with the first word of each line whose last word is a number. The word is not
// to be kept.
func eachNumber(text []byte, fn func(name []byte, n uint64)) {
	eachLine(text, func(words [][]byte) {
		if n, ok := number(words[len(words)-1]); ok {
			fn(words[0], n)
		}
	})
}

// number reads a number of decimal digits. It is false for anything else, such as "max", and for
// one that is too large.
func number(text []byte) (n uint64, ok bool) {
	text = bytes.TrimSpace(text)
	if len(text) == 0 || len(text) > 20 {
		return 0, false
	}
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		next := n*10 + uint64(c-'0')
		if n > (1<<64-1)/10 || next < n {
			return 0, false
		}
		n = next
	}
	return n, true
}

// countLines counts the lines that are not empty.
func countLines(text []byte) (n uint64) {
	eachLine(text, func([][]byte) { n++ })
	return n
}
