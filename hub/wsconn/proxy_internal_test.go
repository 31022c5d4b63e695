package wsconn

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
)

func TestReadProxy(t *testing.T) {
	v2 := func(command, family byte, rest ...byte) string {
		return proxyV2 + string([]byte{command, family, byte(len(rest) >> 8), byte(len(rest))}) + string(rest)
	}
	four := []byte{192, 0, 2, 1, 198, 51, 100, 1, 0x12, 0x34, 1, 187}
	six := append(append(netip.MustParseAddr("2001:db8::1").AsSlice(), netip.MustParseAddr("2001:db8::2").AsSlice()...), 0x12, 0x34, 1, 187)
	for name, tt := range map[string]struct{ text, want string }{
		"1, IPv4":            {"PROXY TCP4 192.0.2.1 198.51.100.1 4660 443\r\n", "192.0.2.1:4660"},
		"1, IPv6":            {"PROXY TCP6 2001:db8::1 2001:db8::2 4660 443\r\n", "[2001:db8::1]:4660"},
		"1, unknown":         {"PROXY UNKNOWN\r\n", "none"},
		"1, unknown, more":   {"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "none"},
		"1, no address":      {"PROXY TCP4 here there 1 2\r\n", ""},
		"1, fields missing":  {"PROXY TCP4 192.0.2.1\r\n", ""},
		"1, no end":          {"PROXY TCP4 " + strings.Repeat("1", 200) + "\r\n", ""},
		"2, IPv4":            {v2(0x21, 0x11, four...), "192.0.2.1:4660"},
		"2, IPv4, more":      {v2(0x21, 0x11, append(four, 4, 0, 1, 9)...), "192.0.2.1:4660"},
		"2, IPv6":            {v2(0x21, 0x21, six...), "[2001:db8::1]:4660"},
		"2, its own":         {v2(0x20, 0), "none"},
		"2, unknown":         {v2(0x21, 0), "none"},
		"2, UDP":             {v2(0x21, 0x12, four...), ""},
		"2, too short":       {v2(0x21, 0x11, four[:11]...), ""},
		"2, another version": {v2(0x31, 0x11, four...), ""},
		"2, too long":        {v2(0x21, 0x11, make([]byte, maxProxyV2+1)...), ""},
		"2, cut off":         {v2(0x21, 0x11, four...)[:20], ""},
		"TLS":                {"\x16\x03\x01" + strings.Repeat("x", 20), ""},
		"nothing":            {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := strings.NewReader(tt.text + "next")
			if tt.want == "" {
				r = strings.NewReader(tt.text)
			}
			addr, err := readProxy(r)
			if tt.want == "" {
				if !errors.Is(err, errProxy) {
					t.Errorf("%v, %v", addr, err)
				}
				return
			}
			got := "none"
			if addr.IsValid() {
				got = addr.String()
			}
			if rest, _ := io.ReadAll(r); got != tt.want || err != nil || string(rest) != "next" {
				t.Errorf("%s, %v, and %q is left", got, err, rest)
			}
		})
	}
}

func FuzzReadProxy(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.1 198.51.100.1 4660 443\r\nx"))
	f.Add([]byte(proxyV2 + "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x01\x12\x34\x01\xbb"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		if _, err := readProxy(r); err == nil && len(b)-r.Len() > maxProxyV2+len(proxyV2)+4 {
			t.Errorf("%d bytes were read", len(b)-r.Len())
		}
	})
}
