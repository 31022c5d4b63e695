// Package kubectl works on a cluster the way a person does: by running
// kubectl. What the demo shows can so be repeated by hand, word for word.
package kubectl
