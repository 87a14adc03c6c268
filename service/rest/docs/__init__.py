"""The page /docs: the contract with its comments, rules and examples, made by the server itself."""
