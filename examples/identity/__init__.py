"""Identity platform on Meridian: users, groups, memberships, unique e-mail addresses. `make example-identity` runs it."""
