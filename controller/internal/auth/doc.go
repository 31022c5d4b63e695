// Package auth has what cloudcore's ports share to find out who their clients are and what
// they may do. The API server decides both: it reviews tokens (TokenReview) and rights
// (SubjectAccessReview), and names the authorities of client certificates. Each port chooses
// how long an answer counts.
package auth
