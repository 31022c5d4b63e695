package badgerstore_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/edgekit/edgekit/meta"
)

// allocatedBytes returns what a file takes on disk.
func allocatedBytes(info fs.FileInfo) int64 { return info.Sys().(*syscall.Stat_t).Blocks * 512 }

// TestValueLogStaysEmpty stores values of every size: badger's value log stays empty, and
// so needs no garbage collection.
func TestValueLogStaysEmpty(t *testing.T) {
	dir := memoryDir(t)
	s := open(t, dir)
	for _, size := range []int{1, 1 << 10, 100 << 10, 128 << 10, 128<<10 + 1, 1 << 20, meta.MaxValue} {
		for range 3 {
			if _, err := s.Apply(t.Context(), meta.Op{Key: "local/a", Value: []byte(strings.Repeat("v", size))}); err != nil {
				t.Fatal(err)
			}
		}
	}
	logs, err := filepath.Glob(filepath.Join(dir, "data", "*.vlog"))
	if err != nil || len(logs) != 1 {
		t.Fatalf("value logs %q, %v", logs, err)
	}
	info, err := os.Stat(logs[0])
	if err != nil || allocatedBytes(info) > 4096 {
		t.Errorf("the value log takes %d bytes, %v", allocatedBytes(info), err)
	}
}
