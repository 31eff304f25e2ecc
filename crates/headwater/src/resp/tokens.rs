//! Who may read.

use headwater_model::file::Token;
use subtle::ConstantTimeEq;

/// The name of whoever needs no token, and what Redis calls a user that is not named.
pub const DEFAULT_USER: &str = "default";

pub struct Tokens(Vec<Token>);

impl Tokens {
    pub fn new(tokens: Vec<Token>) -> Tokens {
        Tokens(tokens)
    }

    /// Who a new connection is: nobody yet if a token is needed.
    pub fn anyone(&self) -> Option<Box<str>> {
        self.0.is_empty().then(|| DEFAULT_USER.into())
    }

    pub fn are_needed(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whose token this is. A user that is given must be that one, or [`DEFAULT_USER`].
    pub fn name(&self, user: Option<&[u8]>, secret: &[u8]) -> Option<Box<str>> {
        let mut found = None;
        // All are compared, however early one fits.
        for token in &self.0 {
            let fits = bool::from(token.secret.reveal().as_bytes().ct_eq(secret));
            let named =
                user.is_none_or(|user| user == token.name.as_bytes() || user == DEFAULT_USER.as_bytes());
            if fits && named {
                found = Some(token.name.clone());
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use headwater_model::Secret;
    use headwater_model::file::Role;

    use super::*;

    #[test]
    fn a_token_is_its_own_name() {
        let token = |name: &str, secret: &str| Token {
            name: name.into(),
            role: Role::Viewer,
            secret: Secret::new(secret),
        };
        let tokens = Tokens::new(vec![token("shop", "0123456789abcdef"), token("page", "fedcba9876543210")]);
        assert_eq!(tokens.anyone(), None);
        assert_eq!(tokens.name(None, b"fedcba9876543210").as_deref(), Some("page"));
        assert_eq!(tokens.name(Some(b"default"), b"0123456789abcdef").as_deref(), Some("shop"));
        assert_eq!(tokens.name(Some(b"shop"), b"0123456789abcdef").as_deref(), Some("shop"));
        assert_eq!(tokens.name(Some(b"page"), b"0123456789abcdef"), None);
        assert_eq!(tokens.name(None, b"0123456789abcde"), None);
        assert_eq!(Tokens::new(Vec::new()).anyone().as_deref(), Some(DEFAULT_USER));
    }
}
