//go:build !unix

package hostinfo

import "errors"

// SpaceOf returns errors.ErrUnsupported: pods run nowhere else.
func SpaceOf(string) (Space, error) { return Space{}, errors.ErrUnsupported }

// NearestSpace returns errors.ErrUnsupported.
func NearestSpace(string) (Space, error) { return Space{}, errors.ErrUnsupported }
