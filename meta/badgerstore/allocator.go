package badgerstore

import (
	"errors"
	"strconv"

	"github.com/dgraph-io/ristretto/v2/z"
)

// errAllocator is the error of Open in a program that would damage its tables.
var errAllocator = errors.New("badgerstore: this program would lose data: it was built for a 32-bit machine with ristretto's allocator as it is; take a released program, or build with the file of 'release modfile' (cmd/release)")

// checkAllocator refuses programs for 32-bit machines whose allocator of tables returns the same
// memory twice once its first buffer is full: ristretto computes the next buffer's place as an int,
// by a shift of 32 bits. cmd/release builds with that line mended.
func checkAllocator() error {
	if strconv.IntSize > 32 {
		return nil
	}
	a := z.NewAllocator(512, "check")
	defer a.Release()
	if first, second := a.Allocate(400), a.Allocate(400); &first[0] == &second[0] {
		return errAllocator
	}
	return nil
}
