//go:build !unix

package nodeusage

import "errors"

func fileSystem(string) (space, error) {
	return space{}, errors.New("nodeusage: file systems are not measured on this platform")
}
