//go:build !unix

package nodestatus

import "errors"

// diskSpace is for Unix: pods run nowhere else.
func diskSpace(string) (total, free int64, inodes, inodesFree uint64, err error) {
	return 0, 0, 0, 0, errors.ErrUnsupported
}
