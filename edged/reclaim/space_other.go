//go:build !unix

package reclaim

import "errors"

// spaceOf cannot ask this system.
func spaceOf(string) (usage, error) { return usage{}, errors.ErrUnsupported }
