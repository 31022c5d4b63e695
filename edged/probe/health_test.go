package probe

import "testing"

func FuzzHealthStatus(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 2, 8, 1})
	f.Add([]byte{0, 0, 0, 0, 9, 8})
	f.Add([]byte{})
	f.Fuzz(func(_ *testing.T, b []byte) { healthStatus(b) })
}
