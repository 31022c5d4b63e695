package badgerstore

import (
	"errors"
	"strconv"
	"testing"
)

// TestAllocator: a program that would damage its tables does not open a store; all others do.
// "make cross-test" runs it as a program for 32-bit ARM.
func TestAllocator(t *testing.T) {
	err := checkAllocator()
	if strconv.IntSize > 32 && err != nil || err != nil && !errors.Is(err, errAllocator) {
		t.Fatal(err)
	}
	store, openErr := Open(Config{Dir: t.TempDir()})
	if !errors.Is(openErr, err) {
		t.Fatalf("Open: %v, want %v", openErr, err)
	}
	if store != nil {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
}
