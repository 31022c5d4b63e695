//go:build !unix

package regular

import (
	"fmt"
	"os"
)

// Open opens a regular file to read it. On this system, which runs no pods, a link
// may take its place meanwhile.
func Open(path string) (*os.File, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("open %s: it is no regular file but %s", path, info.Mode().Type())
	}
	return os.Open(path)
}
