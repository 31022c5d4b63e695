package jobs

import "strings"

// secretWords begin values that a log must not carry to the cloud. edgecore logs none; a library,
// a crash or an address with a password may.
var secretWords = [...]string{"password", "passwd", "token", "secret", "authorization", "bearer", "credential", "apikey", "api_key", "private key", `"auth`}

const removed = "[removed]"

// redact takes secrets out of a log: what follows the words above in a line, the passwords in
// addresses, and keys in PEM.
func redact(text string) string {
	var out strings.Builder
	inKey := false
	for line := range strings.Lines(text) {
		switch {
		case strings.Contains(line, "-----BEGIN "):
			if !strings.Contains(line, "PRIVATE KEY") {
				break
			}
			out.WriteString(removed + "\n")
			inKey = !strings.Contains(line, "-----END ") // it may be a key in one line, quoted
			continue
		case inKey && strings.Contains(line, "-----END "):
			inKey = false
			continue
		case strings.Contains(line, "-----END ") && strings.Contains(line, "PRIVATE KEY"): // the log begins in a key
			out.Reset()
			out.WriteString(removed + "\n")
			continue
		}
		if !inKey {
			out.WriteString(redactLine(line))
		}
	}
	return out.String()
}

func redactLine(line string) string {
	lower := lowerASCII(line)
	for _, word := range secretWords {
		for from := 0; ; {
			i := strings.Index(lower[from:], word)
			if i < 0 {
				break
			}
			from += i + len(word)
			rest := strings.TrimLeft(line[from:], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-\\\"'")
			if rest != "" && (rest[0] == '=' || rest[0] == ':' || word == "bearer" && rest[0] == ' ') {
				line = line[:len(line)-len(rest)+1] + removed + "\n"
				lower = lowerASCII(line)
				break
			}
		}
	}
	for i := 0; ; { // scheme://user:password@host
		start := strings.Index(line[i:], "://")
		if start < 0 {
			return line
		}
		i += start + len("://")
		end := i + len(line[i:])
		if stop := strings.IndexAny(line[i:], "/ \t\n\"'"); stop >= 0 {
			end = i + stop
		}
		if at := strings.LastIndexByte(line[i:end], '@'); at >= 0 {
			line = line[:i] + removed + line[i+at:]
		}
	}
}

// lowerASCII has the length of text, whatever letters others have.
func lowerASCII(text string) string {
	b := []byte(text)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
