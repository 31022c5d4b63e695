package summary

import (
	"strings"

	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// maxSummary is how many characters the values in Device.status have.
const maxSummary = 120

// Values returns reported values as name=value, as many as a line takes.
func Values(twins []schema.Twin) string {
	var b strings.Builder
	for _, t := range twins {
		if t.Reported == nil {
			continue
		}
		item := t.PropertyName + "=" + Shorten(strings.Map(printable, t.Reported.Value), 32)
		if b.Len()+len(item)+1 > maxSummary-4 {
			b.WriteString(" ...")
			break
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(item)
	}
	return b.String()
}

func printable(r rune) rune {
	if r < ' ' || r == 0x7f {
		return '?'
	}
	return r
}

// Shorten cuts a text to a number of bytes, at a character.
func Shorten(text string, most int) string {
	if len(text) <= most {
		return text
	}
	cut := most - 3
	for cut > 0 && text[cut]&0xc0 == 0x80 {
		cut--
	}
	return text[:cut] + "..."
}
