// Package programs builds edgekit's programs for the platforms of a release. They are static, and the
// same source gives the same bytes in every folder.
package programs
