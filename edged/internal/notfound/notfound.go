package notfound

import (
	"errors"
)

// Is reports whether an error of Objects or Runtime says that what was
// asked for is not there.
func Is(err error) bool {
	var e interface{ NotFound() bool }
	return errors.As(err, &e) && e.NotFound()
}
